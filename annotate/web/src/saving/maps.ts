/** Label maps as the command writes them, and objects as gray PNGs with 16 bits, 0 where there is none. */

import { type DecodedPng, encode } from "fast-png";

import { NO_COLOR } from "../imaging/palette";
import type { SavedEdits } from "../labels/edits";
import { NONE } from "../labels/labeling";
import { packed } from "../labels/layer";
import type { Size } from "../labels/runs";

type Image = Parameters<typeof encode>[0];
type Options = Parameters<typeof encode>[1] & Pick<Image, "palette" | "text">;

/** A gray PNG with as many bits as the values have. */
export function grayPng(data: Uint8Array | Uint16Array, { width, height }: Size, { zlib = {}, ...more }: Options = {}) {
  const depth = data.BYTES_PER_ELEMENT === 1 ? 8 : 16;
  return encode({ width, height, data, channels: 1, depth, ...more }, { zlib }) as Uint8Array<ArrayBuffer>;
}

/** Most words for which a label map has 8 bits. */
const MOST_8_BIT = 255;

/**
 * A palette PNG whose values are the indices of the words, 255 where there is none; for more than 255 words a gray one
 * with 16 bits, 65535 where there is none.
 *
 * @param colors RGB of each label.
 */
export function labelMapPng(labels: Uint16Array, size: Size, colors: readonly (readonly number[])[], options: Options = {}) {
  if (colors.length > MOST_8_BIT) return grayPng(labels, size, options);
  const palette = Array.from({ length: 256 }, (_, index) => [...(colors[index] ?? NO_COLOR)]);
  // 65535, which is no word, becomes 255 when it is cut to 8 bits
  return grayPng(new Uint8Array(labels), size, { ...options, palette });
}

/** Labels of such a map, 65535 where there is none. */
export function labelsOfMap({ data, depth, channels }: DecodedPng): Uint16Array<ArrayBuffer> {
  if (channels !== 1) throw new Error("a label map has more than one channel");
  const labels = new Uint16Array(data);
  if (depth === 8) for (let at = 0; at < labels.length; at++) if (labels[at] === 255) labels[at] = NONE;
  return labels;
}

/**
 * Objects from the values of such a file. Numbers stay: an object has the label of most of its pixels, or null if none
 * has one.
 */
export function savedObjects(layer: Uint16Array, labels: Uint16Array): SavedEdits["objects"] {
  const counts = new Map<number, number>();
  for (const [at, number] of layer.entries()) {
    const key = number * (NONE + 1) + labels[at];
    if (number && labels[at] !== NONE) counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const ids = new Array<number | null>(layer.reduce((most, number) => Math.max(most, number), 0)).fill(null);
  // the most frequent comes last, and so is kept
  for (const [key] of [...counts].sort(([, few], [, many]) => few - many))
    ids[Math.floor(key / (NONE + 1)) - 1] = key % (NONE + 1);
  return { layer: ids.length ? packed(layer) : null, ids };
}
