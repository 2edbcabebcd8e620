/** Words for one kind of thing in several colors: pixels decide between them, as in `segvoc.inference.word_colors`. */

import * as ort from "onnxruntime-web/wasm";

import { regions } from "../labels/connected";
import { forRuns } from "../labels/runs";
import { COLORS, type WordFacts } from "./lexicon";
import { type Maps, strongestClass } from "./strongest_class";

/** Number of words up to which class selection drops none. */
export const KEPT = 64;

/** Share of a region's votes that a color needs. */
const LEAST_SHARE = 0.05;

/** How much a pixel of each color counts. */
const VOTES = COLORS.map((color) => (color === "black" ? 0.8 : color === "gray" || color === "white" ? 1 : 1.5));

export interface ColoredWords {
  readonly words: readonly number[];
  readonly colors: readonly number[];
}

/** The groups of words that differ in the color of what they name. */
export function coloredWords(facts: readonly WordFacts[]): ColoredWords[] {
  const colored = [...facts.entries()].filter(([, { color }]) => color !== null);
  const groups = [...new Set(colored.map(([, { kind }]) => kind))].map((kind) => {
    const words = colored.filter(([, fact]) => fact.kind === kind);
    return { words: words.map(([at]) => at), colors: words.map(([, { color }]) => COLORS.indexOf(color!)) };
  });
  return groups.filter(({ colors }) => new Set(colors).size > 1);
}

/**
 * Give connected cells of a group's words to the word whose color most of their pixels have; `kept` are the numbers of the
 * asked words that have maps, the first ones.
 */
export async function withColors(
  program: ort.InferenceSession,
  pixels: ort.Tensor,
  groups: readonly ColoredWords[],
  { values: before, classes, rows, columns }: Maps,
  kept: readonly number[],
): Promise<Maps> {
  const [, , height, width] = pixels.dims;
  const { names } = await program.run({ pixels: pixels.reshape([3, height, width]) });
  const values = before.slice(), maps = { values, classes, rows, columns }, cells = rows * columns;
  const [{ index: won }, { index: first }] = [[...kept.keys()], undefined].map((among) => strongestClass(maps, rows, columns, among));
  for (const { words, colors } of groups) {
    const places = words.map((word) => kept.indexOf(word));
    const colorOf = new Map(places.map((place, at) => [place, colors[at]]));
    const inside = Uint16Array.from(won, (place) => Number(colorOf.has(place)));
    const part = new Int32Array(cells);
    let parts = 0;
    for (const runs of regions(inside, { width: columns, height: rows })) {
      forRuns(runs, (cell) => (part[cell] = parts));
      parts++;
    }
    const votes = new Float64Array(parts * COLORS.length);
    for (const [pixel, name] of (names.data as Int32Array).entries()) {
      const x = pixel % width, y = (pixel - x) / width;
      const cell = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
      // an unasked word is likelier
      if (first[cell] !== won[cell]) continue;
      votes[part[cell] * COLORS.length + name] += VOTES[name];
    }
    const taken = [...Array(parts).keys()].map((one) => {
      const ofColors = votes.subarray(one * COLORS.length, (one + 1) * COLORS.length);
      const ofWords = colors.map((color) => ofColors[color]), most = Math.max(...ofWords);
      return most <= LEAST_SHARE * ofColors.reduce((sum, some) => sum + some, 0) ? -1 : places[ofWords.indexOf(most)];
    });
    for (let cell = 0; cell < cells; cell++) {
      const from = won[cell], to = taken[part[cell]];
      if (!inside[cell] || to < 0 || colorOf.get(from) === colorOf.get(to)) continue;
      values[to * cells + cell] = before[from * cells + cell];
      values[from * cells + cell] = before[to * cells + cell];
    }
  }
  return maps;
}
