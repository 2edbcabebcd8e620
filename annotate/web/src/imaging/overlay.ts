/** The overlay: words as colors over the photograph, with borders, as `segvoc.imaging.overlay` draws it. */

import type { Pixels } from "../backend";
import { whole } from "../labels/runs";
import { borderLines, EDGE, LINE } from "./border_lines";
import type { Color } from "./palette";

/** RGB of the borders' dark edges. */
export const EDGE_COLOR: Color = [18, 20, 24];

const WHITE: Color = [255, 255, 255];

/**
 * Blend the colors of the words over an image.
 *
 * @param labels index of each pixel's color.
 * @param colors RGB of each label; the last one is that of no word.
 * @param opacity weight of the colors, in [0, 1]; at 0 only the borders are visible.
 * @returns RGBA, row by row.
 */
export function overlay(
  image: Pixels,
  labels: Uint16Array,
  colors: readonly Color[],
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
    // the photograph keeps its light and shade, but loses some of its color, which would tint those of the words
    const gray = (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 0x8000) >> 16;
    const color = lines[pixel] === EDGE ? EDGE_COLOR : colors[labels[pixel]];
    for (let channel = 0; channel < 3; channel++) {
      const faded = (gray + (1 - opacity) * (data[at + channel] - gray)) | 0;
      result[at + channel] = (faded + opacity * (color[channel] - faded)) | 0;
    }
  }
  return result;
}
