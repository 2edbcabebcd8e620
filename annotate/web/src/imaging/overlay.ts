/** Words as colors over the photograph, with lines between regions, as `segvoc.imaging.overlay` draws them. */

import type { Pixels } from "../backend";
import { type Labeling, NONE } from "../labels/labeling";
import { type Box, grown, type Size, whole } from "../labels/runs";
import type { Color } from "./palette";
import { halfToEven } from "./resize";

/** What a pixel is: part of a line, of its edge, or neither. */
export const LINE = 1,
  EDGE = 2;

/** The lines in a rectangle of an image with a label for each pixel, row by row. */
export function borderLines(labels: Uint16Array, { width, height }: Size, box: Box): Uint8Array {
  const shorter = Math.min(width, height);
  const thickness = Math.max(1, halfToEven(shorter / 450)),
    edges = 1 + 2 * halfToEven(shorter / 600);
  // lines that begin outside reach into the rectangle
  const { left, top, right, bottom } = grown(box, thickness + edges, { width, height });
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

/** The colors of what is drawn: of words by their ids, and of parts; what has no word has none. */
export function drawnColors({ words, found: { parts } }: Labeling): ReadonlyMap<number, readonly number[]> {
  const ofParts = (parts?.colors ?? []).map((color, part) => [drawnPart(part), color] as const);
  return new Map([...words.map(({ id, color }) => [id, color] as const), ...ofParts]);
}

/** What is drawn for a pixel: the id of its word, or its part. */
export function drawnLabel(labeling: Labeling, pixel: number): number {
  const label = labeling.labels[pixel];
  const part = label === NONE || !labeling.found.parts ? NONE : labeling.part(pixel);
  return part === NONE ? label : drawnPart(part);
}

/** Parts come after all words, the first one last. */
export function drawnPart(part: number): number {
  return NONE - 1 - part;
}

export function drawnLabels(labeling: Labeling): Uint16Array {
  return labeling.labels.map((_, pixel) => drawnLabel(labeling, pixel));
}

export const EDGE_COLOR: Color = [18, 20, 24];

const WHITE: Color = [255, 255, 255];

/**
 * Blend the colors of the words over an image.
 *
 * @param labels see `drawnLabels`.
 * @param colors RGB of labels; what has none is clear.
 * @param opacity weight of the colors, in [0, 1]; at 0 only the borders are visible.
 * @returns RGBA, row by row.
 */
export function overlay(
  image: Pixels,
  labels: Uint16Array,
  colors: ReadonlyMap<number, readonly number[]>,
  opacity: number,
): Uint8ClampedArray<ArrayBuffer> {
  const { data } = image;
  const result = new Uint8ClampedArray(data.length);
  const lines = borderLines(labels, image, whole(image));
  for (let pixel = 0, at = 0; at < data.length; pixel++, at += 4) {
    result[at + 3] = 255;
    if (lines[pixel] === LINE) {
      result.set(WHITE, at);
      continue;
    }
    const color = lines[pixel] === EDGE ? EDGE_COLOR : colors.get(labels[pixel]);
    // where nothing was found, the image is as it was
    if (!color) {
      result.set(data.subarray(at, at + 3), at);
      continue;
    }
    // the photograph keeps its light and shade, but loses some of its color, which would tint those of the words
    const gray = (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 0x8000) >> 16;
    for (let channel = 0; channel < 3; channel++) {
      const faded = (gray + (1 - opacity) * (data[at + channel] - gray)) | 0;
      result[at + channel] = (faded + opacity * (color[channel] - faded)) | 0;
    }
  }
  return result;
}
