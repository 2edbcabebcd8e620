/** Words and parts as one list of colors, for all that draws them. */

import { NONE, type Labeling } from "../labels/labeling";
import { NO_COLOR, type Color } from "./palette";

/** Colors of the words, the parts, and last of what has no word. */
export function drawnColors({ colors, found: { parts } }: Labeling): Color[] {
  return [...colors, ...((parts?.colors ?? []) as readonly Color[]), NO_COLOR];
}

/** Place of a pixel's color among them. */
export function drawnLabel(labeling: Labeling, pixel: number): number {
  const label = labeling.labels[pixel];
  const { words } = labeling;
  const { parts } = labeling.found;
  if (label === NONE) return words.length + (parts?.names.length ?? 0);
  const part = parts ? labeling.part(pixel) : NONE;
  return part === NONE ? label : words.length + part;
}

/** The places of all pixels' colors. */
export function drawnLabels(labeling: Labeling): Uint16Array {
  const result = new Uint16Array(labeling.labels.length);
  for (let pixel = 0; pixel < result.length; pixel++) result[pixel] = drawnLabel(labeling, pixel);
  return result;
}
