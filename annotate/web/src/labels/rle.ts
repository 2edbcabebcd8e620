/** COCO's compressed run lengths of a mask, column by column. */

import type { Box, Size } from "./runs";

/**
 * The counts of the pixels with one value, as pycocotools reads them.
 *
 * @param values of each pixel, row by row.
 * @param box where the value is.
 */
export function compressedCounts(values: Uint16Array, { width, height }: Size, value: number, box: Box): string {
  const counts: number[] = [];
  let isInside = false,
    since = 0;
  const turn = (place: number) => {
    counts.push(place - since);
    isInside = !isInside;
    since = place;
  };
  for (let x = box.left; x < box.right; x++) {
    for (let y = box.top, at = y * width + x; y < box.bottom; y++, at += width)
      if ((values[at] === value) !== isInside) turn(x * height + y);
    // above, below and beside the rectangle, the value isn't
    const isNextInside = box.top === 0 && box.bottom === height && x + 1 < box.right;
    if (isInside && !isNextInside) turn(x * height + box.bottom);
  }
  if (since < width * height || !counts.length) counts.push(width * height - since);
  return compressed(counts);
}

/** Five bits a character, as differences to the count before the last one. */
function compressed(counts: readonly number[]): string {
  const bytes: string[] = [];
  for (const [at, count] of counts.entries()) {
    let rest = at > 2 ? count - counts[at - 2] : count;
    for (let isLast = false; !isLast;) {
      const bits = rest & 31;
      rest >>= 5;
      isLast = bits & 16 ? rest === -1 : rest === 0;
      bytes.push(String.fromCharCode((isLast ? bits : bits | 32) + 48));
    }
  }
  return bytes.join("");
}
