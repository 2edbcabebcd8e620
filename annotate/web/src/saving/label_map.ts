/** Label maps as the command writes them. */

import { encode } from "fast-png";

import { NO_COLOR } from "../imaging/palette";

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
