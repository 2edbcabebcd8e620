/** Taught words: classifiers learned from examples, which add to the logits that words have by their text. */

import { PageError } from "../backend";
import type { TaughtWords } from "./taught_words";

/** Logits by which examples have to raise the best taught word of a cell before untaught words lose by it. */
const MARGIN = 2;

/** Largest difference between the features of the same image by two programs, relative to their length. */
const TOLERANCE = 0.05;

/** Side of the drawn image by whose features a model is recognized [px]. */
const PROBE_SIDE = 256;

/** A feature map, or maps of logits: (channels, rows, columns). */
export interface FeatureMap {
  readonly name: string;
  readonly values: Float32Array;
  readonly channels: number;
  readonly rows: number;
  readonly columns: number;
}

/** The names of the maps that classifiers read, in order. */
export function readNames(names: readonly string[]): string[] {
  const first = ["appearance", "map_0"].find((name) => names.includes(name));
  if (!first) throw new PageError("Words can't be taught to this network, which has no feature maps of whole images.");
  const taps = names.filter((name) => name.startsWith("tap_")).sort();
  return [first, ...names.filter((name) => name === "class_logits"), ...taps];
}

/** The classifiers of those words of a query that were taught. */
export class TaughtQuery {
  private constructor(
    /** Indices of the taught words among those of the query. */
    private readonly indices: readonly number[],
    /** For each of them, the weights on the features as they are, one map after the other. */
    private readonly weights: readonly Float64Array[],
    private readonly bias: readonly number[],
    /** Whether the query has words that no image showed when the others were taught. */
    private readonly hasStrangers: boolean,
  ) {}

  /**
   * The classifiers of some words; null if none of them was taught.
   *
   * @param taught of a word that was taught several times, the last counts.
   */
  static of(taught: readonly TaughtWords[], words: readonly string[]): TaughtQuery | null {
    const places = new Map(taught.flatMap((one) => one.words.map((word, row) => [word, { one, row }] as const)));
    const shown = new Set(taught.flatMap((one) => one.shown));
    const indices: number[] = [], weights: Float64Array[] = [], bias: number[] = [];
    for (const [index, word] of words.entries()) {
      const place = places.get(word);
      if (!place) continue;
      const { one, row } = place;
      const size = one.scale.length;
      const raw = Float64Array.from(one.scale, (scale, at) => one.weights[row * size + at] / scale);
      indices.push(index);
      weights.push(raw);
      bias.push(one.bias[row] - raw.reduce((sum, value, at) => sum + value * one.mean[at], 0));
    }
    return indices.length ? new TaughtQuery(indices, weights, bias, !words.every((word) => shown.has(word))) : null;
  }

  /**
   * Add to logits what examples say; those of untaught words stay as they are.
   *
   * @param logits those of the words that were kept, (words, rows, columns).
   * @param kept their indices among the words of the query.
   * @param maps the features that classifiers read.
   */
  added(
    logits: Float32Array,
    [rows, columns]: readonly [number, number],
    kept: ArrayLike<number>,
    maps: readonly FeatureMap[],
  ): Float32Array {
    const cells = rows * columns;
    const placeOf = new Map(Array.from(kept, (index, place) => [index, place]));
    const here = this.indices.flatMap((index, at) => (placeOf.has(index) ? [{ place: placeOf.get(index)!, at }] : []));
    const result = logits.slice();
    if (!here.length) return result;
    const highest = { before: new Float32Array(cells).fill(-Infinity), after: new Float32Array(cells).fill(-Infinity) };
    for (const { place, at } of here) {
      const scores = scored(maps, this.weights[at], this.bias[at], rows, columns);
      for (let cell = 0, to = place * cells; cell < cells; cell++, to++) {
        highest.before[cell] = Math.max(highest.before[cell], logits[to]);
        result[to] = logits[to] + scores[cell];
        highest.after[cell] = Math.max(highest.after[cell], result[to]);
      }
    }
    if (!this.hasStrangers) return result;
    for (let cell = 0; cell < cells; cell++) {
      const lost = withheld(highest.before[cell], highest.after[cell]);
      for (const { place } of here) result[place * cells + cell] -= lost;
    }
    return result;
  }
}

/**
 * What all taught words of a cell lose again where words are asked that weren't taught.
 *
 * Examples of some words say nothing of others: they take cells from an untaught word only where they are surer than by
 * a margin.
 *
 * @param before the highest logit of the taught words by their text.
 * @param after the highest with examples.
 */
export function withheld(before: number, after: number): number {
  return Math.min(MARGIN, Math.max(0, after - before));
}

/** A linear classifier at every cell of a grid: each map is classified on its own grid and interpolated. */
export function scored(
  maps: readonly FeatureMap[],
  weights: Float64Array,
  bias: number,
  rows: number,
  columns: number,
): Float32Array {
  const total = new Float32Array(rows * columns).fill(bias);
  let first = 0;
  for (const map of maps) {
    const scores = new Float64Array(map.rows * map.columns);
    for (let channel = 0, from = 0; channel < map.channels; channel++) {
      const weight = weights[first + channel];
      for (let cell = 0; cell < scores.length; cell++, from++) scores[cell] += weight * map.values[from];
    }
    addInterpolated(total, scores, map, rows, columns);
    first += map.channels;
  }
  return total;
}

/** Add a map that is interpolated bilinearly, corners not aligned. */
function addInterpolated(
  total: Float32Array,
  scores: Float64Array,
  map: { readonly rows: number; readonly columns: number },
  rows: number,
  columns: number,
): void {
  const down = neighbors(map.rows, rows), across = neighbors(map.columns, columns);
  for (let row = 0, to = 0; row < rows; row++) {
    const upper = down[row].lower * map.columns, lower = down[row].upper * map.columns, share = down[row].share;
    for (let column = 0; column < columns; column++, to++) {
      const { lower: left, upper: right, share: along } = across[column];
      const above = scores[upper + left] * (1 - along) + scores[upper + right] * along;
      const below = scores[lower + left] * (1 - along) + scores[lower + right] * along;
      total[to] += above * (1 - share) + below * share;
    }
  }
}

/** For each pixel of an axis, the two cells between which it lies, and the weight of the upper one. */
function neighbors(cells: number, pixels: number): { lower: number; upper: number; share: number }[] {
  return Array.from({ length: pixels }, (_, pixel) => {
    const place = Math.max(0, (pixel + 0.5) * (cells / pixels) - 0.5);
    const lower = Math.min(cells - 1, Math.floor(place));
    return { lower, upper: Math.min(cells - 1, lower + 1), share: place - lower };
  });
}

/** The drawn image by whose features a model is recognized: waves in three colors, as Python draws it. */
export function probeImage(): { width: number; height: number; data: Uint8ClampedArray } {
  const data = new Uint8ClampedArray(4 * PROBE_SIDE * PROBE_SIDE).fill(255);
  for (let y = 0, to = 0; y < PROBE_SIDE; y++) {
    for (let x = 0; x < PROBE_SIDE; x++, to += 4) {
      const row = y / PROBE_SIDE, column = x / PROBE_SIDE;
      const waves = [Math.sin(2 * Math.PI * (3 * row + 5 * column * row)), Math.cos(17 * column), Math.sin(40 * row * column)];
      data.set(waves.map((wave) => Math.round(127.5 + 127.5 * wave)), to);
    }
  }
  return { width: PROBE_SIDE, height: PROBE_SIDE, data };
}

/**
 * Check that words were taught to a model.
 *
 * @param model its name.
 * @param maps its features of the drawn image.
 */
export function checkModel(taught: TaughtWords, model: string, maps: readonly FeatureMap[]): void {
  if (fits(taught, maps) && distance(maps, taught.probe) <= TOLERANCE * Math.hypot(...taught.probe)) return;
  throw new PageError(
    `These words were taught to “${taught.model}”, and the “${model}” of this page has other weights: teach them to it again.`,
  );
}

/** Length of the difference between the mean features of an image and those of another. */
function distance(maps: readonly FeatureMap[], means: Float32Array): number {
  const found = maps.flatMap(({ values, channels }) => {
    const cells = values.length / channels;
    return Array.from({ length: channels }, (_, channel) => {
      const own = values.subarray(channel * cells, (channel + 1) * cells);
      return own.reduce((sum, value) => sum + value, 0) / cells;
    });
  });
  return Math.hypot(...found.map((value, at) => value - means[at]));
}

/** Whether the features have the channels that the classifiers read. */
export function fits(taught: TaughtWords, maps: readonly FeatureMap[]): boolean {
  const isEqual = ({ name, channels }: FeatureMap) => taught.channels[name] === channels;
  return Object.keys(taught.channels).length === maps.length && maps.every(isEqual);
}
