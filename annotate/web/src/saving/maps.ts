/** Label maps as the command writes them, and objects as gray PNGs with 16 bits, 0 where there is none. */

import { decode, type DecodedPng, encode } from "fast-png";

import { NO_COLOR } from "../imaging/palette";
import { NONE } from "../labels/labeling";
import { packed, type SavedObjects } from "../labels/layer";
import type { Size } from "../labels/runs";

/** Most words for which a label map has 8 bits. */
const MOST_8_BIT = 255;

/**
 * A palette PNG whose values are the indices of the words, 255 where there is none; for more than 255 words a gray one
 * with 16 bits, 65535 where there is none.
 *
 * @param colors RGB of each label.
 */
export function labelMapPng(
  labels: Uint16Array,
  { width, height }: { readonly width: number; readonly height: number },
  colors: readonly (readonly number[])[],
): Uint8Array<ArrayBuffer> {
  if (colors.length > MOST_8_BIT)
    return encode({ width, height, data: labels, channels: 1, depth: 16 }) as Uint8Array<ArrayBuffer>;
  const palette = Array.from({ length: 256 }, (_, index) => [...(colors[index] ?? NO_COLOR)]);
  // 65535, which is no word, becomes 255 when it is cut to 8 bits
  const data = new Uint8Array(labels);
  return encode({ width, height, data, channels: 1, depth: 8, palette }) as Uint8Array<ArrayBuffer>;
}

/** Labels of such a map, 65535 where there is none. */
export function labelsOfMap({ data, depth, channels }: DecodedPng): Uint16Array<ArrayBuffer> {
  if (channels !== 1) throw new Error("a label map has more than one channel");
  const labels = Uint16Array.from(data);
  return depth === 8 ? labels.map((label) => (label === 255 ? NONE : label)) : labels;
}

export function objectMapPng(numbers: Uint16Array, { width, height }: Size): Uint8Array<ArrayBuffer> {
  return encode({ width, height, data: numbers, channels: 1, depth: 16 }) as Uint8Array<ArrayBuffer>;
}

/**
 * Objects from such a file; 8 bits do as well. An object has the word of most of its pixels.
 *
 * @param wordAt the word of a pixel; null: none.
 * @throws Error the file isn't such a map, or has another size than the image.
 */
export function savedObjects(
  png: Uint8Array,
  { width, height }: Size,
  wordAt: (pixel: number) => string | null,
): SavedObjects {
  const image = decode(png);
  if (image.channels !== 1 || image.width !== width || image.height !== height)
    throw new Error(`it isn't a gray map of ${width} × ${height} pixels`);
  const layer = Uint16Array.from(image.data);
  const counts = new Map<number, Map<string, number>>();
  for (let at = 0; at < layer.length; at++) {
    const word = layer[at] ? wordAt(at) : null;
    if (word === null) continue;
    const of = counts.get(layer[at]) ?? new Map<string, number>();
    counts.set(layer[at], of.set(word, (of.get(word) ?? 0) + 1));
  }
  // numbers stay, and those that no pixel with a word has are of no word
  const words = Array.from({ length: layer.reduce((most, number) => Math.max(most, number), 0) }, () => "");
  for (const [number, of] of counts)
    words[number - 1] = [...of].reduce((most, other) => (other[1] > most[1] ? other : most))[0];
  return { layer: words.length ? packed(layer) : null, words };
}
