/** The region around a pixel: all pixels of one label that are connected with it. */

import type { Runs, Size } from "./runs";

/**
 * The region of a pixel, over edges and not over corners.
 *
 * @param isFound marks the pixels of regions that are known; it is filled in.
 */
export function regionAt(
  labels: Uint16Array,
  { width, height }: Size,
  start: number,
  isFound = new Uint8Array(labels.length),
): Runs {
  const label = labels[start];
  const runs: number[] = [];
  const open = [start];
  while (open.length) {
    const seed = open.pop()!;
    if (isFound[seed]) continue;
    const row = seed - (seed % width),
      end = row + width;
    let first = seed,
      last = seed;
    while (first > row && labels[first - 1] === label) first--;
    while (last + 1 < end && labels[last + 1] === label) last++;
    isFound.fill(1, first, last + 1);
    runs.push(first, last - first + 1);
    for (const step of [-width, width]) {
      if (first + step < 0 || first + step >= width * height) continue;
      for (let at = first + step; at <= last + step; at++)
        // one seed for each stretch
        if (labels[at] === label && !isFound[at] && (at === first + step || labels[at - 1] !== label)) open.push(at);
    }
  }
  return Int32Array.from(runs);
}
