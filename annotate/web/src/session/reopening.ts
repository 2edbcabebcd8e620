/** What an image keeps of the labels with which it was done. */

import { firstName } from "../labels/synonyms";
import { NONE, type Settled } from "../labels/labeling";
import type { OpenImage } from "./open_image";

/**
 * Make corrections of those labels that would be others now, so that nobody's work is lost.
 *
 * @param isCurrent whether the model has nothing new to say; if it has, every pixel keeps its label.
 */
export function paintSettled(image: OpenImage, { words, labels }: Settled, isCurrent: boolean): void {
  const now = image.labeling.value!;
  const index = words.map((word) => now.words.indexOf(word));
  const stretches = new Map<number, number[]>();
  for (let at = 0; at < labels.length;) {
    const label = labels[at],
      first = at;
    const row = at - (at % image.item.width) + image.item.width;
    const isSame = (pixel: number) => isCurrent && now.labels[pixel] === (label === NONE ? NONE : index[label]);
    const isKept = isSame(at);
    while (at < row && labels[at] === label && isSame(at) === isKept) at++;
    if (isKept) continue;
    const runs = stretches.get(label) ?? [];
    stretches.set(label, runs);
    runs.push(first, at - first);
  }
  for (const [label, runs] of stretches)
    image.paint(Int32Array.from(runs), label === NONE ? null : firstName(words[label]));
  image.finish();
}
