/** Words and parts as one list of colours, for all that draws them. */

import { NONE, type Labelling } from "../labels/labelling";
import { NO_COLOR, wordColor, type Color } from "./palette";

/** Colours of the words, the parts, and last of what has no word. */
export function drawnColors({ words, found: { parts } }: Labelling): Color[] {
  return [...words.map((_, index) => wordColor(index)), ...((parts?.colors ?? []) as readonly Color[]), NO_COLOR];
}

/** Place of a pixel's colour among them. */
export function drawnLabel(labelling: Labelling, pixel: number): number {
  const label = labelling.labels[pixel];
  const { words } = labelling;
  const { parts } = labelling.found;
  if (label === NONE) return words.length + (parts?.names.length ?? 0);
  const part = parts ? labelling.part(pixel) : NONE;
  return part === NONE ? label : words.length + part;
}

/** The places of all pixels' colours. */
export function drawnLabels(labelling: Labelling): Uint16Array {
  const result = new Uint16Array(labelling.labels.length);
  for (let pixel = 0; pixel < result.length; pixel++) result[pixel] = drawnLabel(labelling, pixel);
  return result;
}
