/** Hatching, which tells touching regions apart where their colors don't: as `segvoc.imaging.hatching` does it. */

import type { Size } from "../labels/runs";
import { lookAlike } from "./color_vision";
import type { Color } from "./palette";

/** Cells of a coarse map along its longer side, and along which two regions have to touch. */
const CELLS = 320,
  SHORTEST_BORDER = 4;

/**
 * How each label is hatched: 1 and -1 are the directions of stripes, 0 is plain.
 *
 * A label is hatched if it touches a larger one whose color looks alike.
 *
 * @param labels index of each pixel's color.
 * @param colors of the labels; the last one is that of no word, which is never hatched.
 */
export function hatching(
  labels: Uint16Array,
  { width, height }: Size,
  colors: readonly Color[],
): Int8Array<ArrayBuffer> {
  const counts = new Float64Array(colors.length);
  for (const label of labels) counts[label]++;
  const present = [...counts.keys()].filter((label) => counts[label] && label < colors.length - 1);
  present.sort((one, other) => counts[other] - counts[one]);
  const borders = touching(labels, width, height, colors.length);
  const result = new Int8Array(colors.length);
  for (const [rank, label] of present.entries()) {
    const others = present.slice(0, rank).filter((larger) => {
      const border = Math.min(label, larger) * colors.length + Math.max(label, larger);
      return (borders.get(border) ?? 0) >= SHORTEST_BORDER && lookAlike(colors[label], colors[larger]);
    });
    const taken = others.map((other) => result[other]);
    result[label] = [0, 1, -1].find((direction) => !taken.includes(direction)) ?? 1;
  }
  return result;
}

/** Length of the border between labels, by the lower one times `count` plus the higher one [cells]. */
function touching(labels: Uint16Array, width: number, height: number, count: number): Map<number, number> {
  const step = Math.ceil(Math.max(width, height) / CELLS),
    start = step >> 1;
  const borders = new Map<number, number>();
  const compare = (one: number, other: number) => {
    if (one === other) return;
    const border = Math.min(one, other) * count + Math.max(one, other);
    borders.set(border, (borders.get(border) ?? 0) + 1);
  };
  for (let y = start; y < height; y += step) {
    for (let x = start; x < width; x += step) {
      const at = y * width + x;
      if (x + step < width) compare(labels[at], labels[at + step]);
      if (y + step < height) compare(labels[at], labels[at + step * width]);
    }
  }
  return borders;
}

/** Distance of the stripes in an image [px]. */
export function stripeSpacing({ width, height }: Size): number {
  return Math.max(6, Math.round(Math.min(width, height) / 56));
}

/** Whether a pixel of a hatched label is part of a stripe. */
export function isStriped(x: number, y: number, direction: number, spacing: number): boolean {
  const along = (x + direction * (y % spacing)) % spacing;
  return (along < 0 ? along + spacing : along) < Math.floor(spacing / 3);
}
