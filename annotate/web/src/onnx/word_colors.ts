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

/** The side of a view, divided by the distance up to which neighbors of a cell vote. */
const NEIGHBORHOOD = 8;

/** How much a pixel of each color counts. */
const WEIGHTS = COLORS.map((color) => (color === "black" ? 0.75 : color === "gray" || color === "white" ? 1 : 1.5));

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
 * Give cells of a group's words to the word whose color most pixels around them have, in their connected cells; `kept` are
 * the numbers of the asked words that have maps, the first ones.
 */
export async function withColors(
  program: ort.InferenceSession,
  pixels: ort.Tensor,
  groups: readonly ColoredWords[],
  maps: Maps,
  kept: readonly number[],
): Promise<Maps> {
  const [, , height, width] = pixels.dims, { values: before, rows, columns } = maps, cells = rows * columns;
  const { names } = await program.run({ pixels: pixels.reshape([3, height, width]) });
  const [{ index: won }, { index: first }] = [[...kept.keys()], undefined].map((among) => strongestClass(maps, rows, columns, among));
  const cellOf = (pixel: number) => {
    const x = pixel % width, y = (pixel - x) / width;
    return Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
  };
  const values = before.slice();
  for (const { words, colors } of groups) {
    const places = words.map((word) => kept.indexOf(word));
    const colorOf = new Map(places.map((place, at) => [place, colors[at]]));
    const inside = Uint16Array.from(won, (place) => Number(colorOf.has(place)));
    if (!inside.includes(1)) continue;
    const votes = COLORS.map(() => new Float64Array(cells));
    for (const [pixel, name] of (names.data as Int32Array).entries()) {
      const cell = cellOf(pixel);
      // elsewhere an unasked word is likelier
      if (inside[cell] && first[cell] === won[cell]) votes[name][cell] += WEIGHTS[name];
    }
    const nearby = shared(votes.map((of) => around(around(of, rows, columns, columns, 1), columns, rows, 1, columns)));
    const connected = shared(inParts(votes, inside, rows, columns));
    for (let cell = 0; cell < cells; cell++) {
      if (!inside[cell]) continue;
      const shares = colors.map((color) => (nearby[color][cell] + connected[color][cell]) / 2), most = Math.max(...shares);
      const from = won[cell], to = most > LEAST_SHARE ? places[shares.indexOf(most)] : -1;
      if (to < 0 || colorOf.get(from) === colorOf.get(to)) continue;
      values[to * cells + cell] = before[from * cells + cell];
      values[from * cells + cell] = before[to * cells + cell];
    }
  }
  return { ...maps, values };
}

/** Sums over the cells within reach along an axis of `side` cells, `step` apart, of which there are `lines`, `apart` apart. */
function around(values: Float64Array, lines: number, side: number, apart: number, step: number): Float64Array {
  const found = new Float64Array(values.length), sums = new Float64Array(side + 1), reach = Math.floor(side / NEIGHBORHOOD);
  for (let line = 0; line < lines; line++) {
    for (let at = 0; at < side; at++) sums[at + 1] = sums[at] + values[line * apart + at * step];
    for (let at = 0; at < side; at++)
      found[line * apart + at * step] = sums[Math.min(at + reach + 1, side)] - sums[Math.max(at - reach, 0)];
  }
  return found;
}

/** Sums over all connected cells. */
function inParts(votes: readonly Float64Array[], inside: Uint16Array, rows: number, columns: number): Float64Array[] {
  const sums = votes.map((of) => new Float64Array(of.length));
  for (const runs of regions(inside, { width: columns, height: rows }))
    for (const [color, of] of votes.entries()) {
      let sum = 0;
      forRuns(runs, (cell) => (sum += of[cell]));
      forRuns(runs, (cell) => (sums[color][cell] = sum));
    }
  return sums;
}

/** The share of each color in each cell. */
function shared(votes: readonly Float64Array[]): Float64Array[] {
  const totals = votes[0].map((_, cell) => Math.max(1, votes.reduce((sum, of) => sum + of[cell], 0)));
  return votes.map((of) => of.map((some, cell) => some / totals[cell]));
}
