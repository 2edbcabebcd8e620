/** Taught words: classifiers learned from examples, which add to the logits that words have by their text. */

import { PageError } from "../backend";
import { folded } from "../labels/synonyms";
import { addInterpolated, type FeatureMap } from "./feature_maps";
import { pyramidInputs, pyramidOutput } from "./feature_pyramid";
import type { TaughtWords } from "./taught_words";

/** Logits by which examples have to raise the best taught word of a cell before untaught words lose by it. */
const MARGIN = 2;

/** Largest difference between the features of the same image by two programs, relative to their length. */
const TOLERANCE = 0.05;

/** Side of the drawn image by whose features a model is recognized [px]. */
const PROBE_SIDE = 256;

/** Words with their prompts' embeddings: (words, prompts, channels). */
export interface Embeddings {
  readonly values: Float32Array;
  readonly words: number;
  readonly prompts: number;
  readonly channels: number;
}

/** What one taught word of a query has by its examples. */
interface Classifier {
  /** Index of the word among those of the query. */
  readonly index: number;
  readonly file: TaughtWords;
  /** Weights on the features as they are, one map after the other; or on the output of the file's pyramid. */
  readonly weights: Float64Array;
  readonly bias: number;
  /** A direction with which the word's embeddings are mixed; 0 leaves them as they are. */
  readonly toward: Float32Array | null;
}

/** The classifiers of those words of a query that were taught. */
export class TaughtQuery {
  private constructor(
    private readonly classifiers: readonly Classifier[],
    /** Index of the map for "none of the words", which stands behind the words if none of these is its name; null: a
     * file learned none, or the words fill the image. */
    readonly none: number | null,
    /** Whether the query has words that no image showed when the others were taught. */
    private readonly hasStrangers: boolean,
  ) {}

  /** The classifiers of words; null if none was taught. Of a word that was taught several times, the last counts. */
  static of(taught: readonly TaughtWords[], words: readonly string[]): TaughtQuery | null {
    const places = new Map(taught.flatMap((one) => one.words.map((word, row) => [folded(word), { one, row }] as const)));
    const shown = new Set(taught.flatMap((one) => one.shown.map(folded)));
    const backgrounds = new Set(taught.flatMap(({ background }) => (background === null ? [] : [folded(background)])));
    const others = words.filter((word) => !backgrounds.has(folded(word)));
    const learned = taught.filter((one) => others.some((word) => places.get(folded(word))?.one === one))
      .findLast(({ background }) => background !== null);
    const named = learned && words.length > 1 ? words.findIndex((word) => backgrounds.has(folded(word))) : -1;
    const classifiers = [...words.entries()].flatMap(([index, word]) => {
      const place = index === named ? undefined : places.get(folded(word));
      return place ? [classifier(place.one, place.row, index)] : [];
    });
    const hasStrangers = words.some((word, index) => index !== named && !shown.has(folded(word)));
    if (!learned || (words.length > 1 && named < 0))
      return classifiers.length ? new TaughtQuery(classifiers, null, hasStrangers) : null;
    const none = named < 0 ? words.length : named;
    const row = learned.words.map(folded).indexOf(folded(learned.background!));
    const own = row < 0 ? [] : [{ ...classifier(learned, row, none), toward: null }];
    return new TaughtQuery([...classifiers, ...own], none, hasStrangers);
  }

  /** Whether maps should follow the edges: they do if that is better for all words. */
  get edges(): boolean {
    return this.classifiers.every(({ file }) => file.edges);
  }

  /** Temperature of the query's confidence: the highest of the files'. */
  get temperature(): number {
    return Math.max(...this.classifiers.map(({ file }) => file.temperature));
  }

  /** The words' embeddings, mixed with regions u but as long as before: e' = |e| unit((1 - a) unit(e) + a u). */
  embeddings(text: Embeddings): Embeddings {
    const { prompts, channels } = text;
    const values = text.values.slice();
    for (const { index, toward, file: { share } } of this.classifiers) {
      if (!toward) continue;
      if (toward.length !== channels)
        throw new PageError("These taught words have embeddings of another length than the model's; teach them again.");
      for (let prompt = 0; prompt < prompts; prompt++) {
        const own = values.subarray((index * prompts + prompt) * channels, (index * prompts + prompt + 1) * channels);
        const length = Math.hypot(...own), unit = 1 / Math.max(1e-12, length);
        const direction = Float64Array.from(own, (value, at) => (1 - share) * unit * value + share * toward[at]);
        const factor = length / Math.max(1e-12, Math.hypot(...direction));
        own.set(direction.map((value) => factor * value));
      }
    }
    return { ...text, values };
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
    const here = this.classifiers.flatMap((one) => {
      const place = placeOf.get(one.index);
      return place === undefined ? [] : [{ ...one, place }];
    });
    const result = logits.slice();
    const none = this.none === null ? undefined : placeOf.get(this.none);
    if (none !== undefined) result.fill(0, none * cells, (none + 1) * cells);
    if (!here.length) return result;
    const read = new Map<TaughtWords, readonly FeatureMap[]>();
    for (const file of new Set(here.map((one) => one.file))) {
      const { pyramid, mean, scale } = file;
      read.set(file, pyramid ? [pyramidOutput(pyramid, pyramidInputs(maps, mean, scale))] : maps);
    }
    const highest = { before: new Float32Array(cells).fill(-Infinity), after: new Float32Array(cells).fill(-Infinity) };
    for (const { place, file, weights, bias } of here) {
      const scores = scored(read.get(file)!, weights, bias, rows, columns);
      for (let cell = 0, to = place * cells; cell < cells; cell++, to++) {
        highest.before[cell] = Math.max(highest.before[cell], result[to]);
        result[to] += scores[cell];
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

/** Replace logits, (words, cells), by those of softmax(logits / temperature) over the words; a single word stays. */
export function softmaxLogits(logits: Float32Array, words: number, temperature: number): Float32Array {
  const cells = logits.length / words, result = logits.slice();
  if (words === 1) return result;
  for (let cell = 0; cell < cells; cell++) {
    let best = cell;
    for (let at = cell; at < logits.length; at += cells) if (logits[at] > logits[best]) best = at;
    let behind = 0;
    for (let at = cell; at < logits.length; at += cells)
      if (at !== best) behind += Math.exp((logits[at] - logits[best]) / temperature);
    for (let at = cell; at < logits.length; at += cells) {
      const own = (logits[at] - logits[best]) / temperature;
      const others = at === best ? behind : behind + 1 - Math.exp(own);
      result[at] = own - Math.log(Math.max(1e-30, others));
    }
  }
  return result;
}

/** The classifier at a row of a file, for the word at an index of a query. */
function classifier(file: TaughtWords, row: number, index: number): Classifier {
  const { pyramid, mean, scale } = file;
  const toward = file.toward && rowOf(file.toward, row, file.words.length);
  const own = rowOf(file.weights, row, file.words.length), bias = file.bias[row];
  if (pyramid) return { index, file, weights: Float64Array.from(own), bias, toward };
  const weights = Float64Array.from(own, (weight, at) => weight / scale[at]);
  const shift = weights.reduce((sum, weight, at) => sum + weight * mean[at], 0);
  return { index, file, weights, bias: bias - shift, toward };
}

function rowOf(values: Float32Array, row: number, rows: number): Float32Array {
  const size = values.length / rows;
  return values.subarray(row * size, (row + 1) * size);
}

/**
 * What all taught words of a cell lose again where other words are asked, too, of which examples say nothing: what the
 * highest logit gained by examples, up to a margin.
 */
export function withheld(before: number, after: number): number {
  return Math.min(MARGIN, Math.max(0, after - before));
}

/** A linear classifier at every cell of a grid: each map is classified on its own grid and interpolated. */
function scored(
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

/** Check that words were taught to the model with a name and with these features of the drawn image. */
export function checkModel(taught: TaughtWords, model: string, maps: readonly FeatureMap[]): void {
  const { probe } = taught;
  const differences = meanFeatures(maps).map((value, at) => value - probe[at]);
  if (fits(taught, maps) && Math.hypot(...differences) <= TOLERANCE * Math.hypot(...probe)) return;
  throw new PageError(
    `These words were taught to “${taught.model}”, and the “${model}” of this page has other weights: teach them to it again.`,
  );
}

function meanFeatures(maps: readonly FeatureMap[]): number[] {
  return maps.flatMap(({ values, channels }) => {
    const cells = values.length / channels;
    return Array.from({ length: channels }, (_, channel) => {
      const own = values.subarray(channel * cells, (channel + 1) * cells);
      return own.reduce((sum, value) => sum + value, 0) / cells;
    });
  });
}

/** Whether the features have the channels that the classifiers read. */
export function fits(taught: TaughtWords, maps: readonly FeatureMap[]): boolean {
  const isEqual = ({ name, channels }: FeatureMap) => taught.channels[name] === channels;
  return Object.keys(taught.channels).length === maps.length && maps.every(isEqual);
}
