/** The colors of words: those of `segvoc.imaging.palette`, from which `annotate/tools/make_web_data.py` writes the table. */

import table from "./palette.json";

/** Most words that the page takes: as many as the table has colors, but one for the background. */
export const MOST_WORDS = table.colors.length / 6 - 1;

export type Color = readonly [number, number, number];

/** The color of pixels without a word in label maps; what is drawn shows the image there. */
export const NO_COLOR: Color = [0, 0, 0];

/** The color of the background: what is none of the words is never the loudest color. */
export const BACKGROUND_COLOR: Color = [128, 128, 128];

/** RGB of the word with an index of at most `MOST_WORDS`. */
export function wordColor(index: number): Color {
  const at = 6 * index;
  return [0, 2, 4].map((byte) => parseInt(table.colors.slice(at + byte, at + byte + 2), 16)) as unknown as Color;
}

export function css(color: readonly number[]): string {
  return `rgb(${color.join(" ")})`;
}
