/** The lines between regions: white with dark edges, to be seen on any color, as `segvoc.imaging.overlay` draws them. */

import type { Box, Size } from "../labels/runs";
import { halfToEven } from "./rounding";

/** What a pixel is: part of a line, of its edge, or neither. */
export const LINE = 1,
  EDGE = 2;

/**
 * The lines in a rectangle of an image, row by row.
 *
 * @param labels label of each pixel of the image.
 */
export function borderLines(labels: Uint16Array, { width, height }: Size, box: Box): Uint8Array {
  const shorter = Math.min(width, height);
  const thickness = Math.max(1, halfToEven(shorter / 450)),
    edges = 1 + 2 * halfToEven(shorter / 600);
  // lines that begin outside reach into the rectangle
  const margin = thickness + edges;
  const left = Math.max(0, box.left - margin),
    right = Math.min(width, box.right + margin);
  const top = Math.max(0, box.top - margin),
    bottom = Math.min(height, box.bottom + margin);
  const around = { width: right - left, height: bottom - top };
  const borders = new Uint8Array(around.width * around.height);
  for (let y = top, to = 0; y < bottom; y++) {
    for (let x = left; x < right; x++, to++) {
      const at = y * width + x;
      if ((x + 1 < width && labels[at] !== labels[at + 1]) || (y + 1 < height && labels[at] !== labels[at + width]))
        borders[to] = 1;
    }
  }
  const lines = widened(borders, around, thickness),
    wide = widened(lines, around, edges);
  const result = new Uint8Array((box.right - box.left) * (box.bottom - box.top));
  for (let y = box.top, to = 0; y < box.bottom; y++) {
    let from = (y - top) * around.width + box.left - left;
    for (let x = box.left; x < box.right; x++, from++) result[to++] = lines[from] ? LINE : wide[from] ? EDGE : 0;
  }
  return result;
}

/** A mask of which every pixel has become a square. */
function widened(mask: Uint8Array, { width, height }: Size, side: number): Uint8Array {
  if (side === 1) return mask;
  const before = side >> 1,
    after = side - 1 - before;
  const across = new Uint8Array(mask.length),
    result = new Uint8Array(mask.length);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++)
      if (mask[at]) across.fill(1, at - Math.min(before, x), at + Math.min(after, width - 1 - x) + 1);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!across[at]) continue;
      for (let to = Math.max(0, y - before); to <= Math.min(height - 1, y + after); to++) result[to * width + x] = 1;
    }
  }
  return result;
}
