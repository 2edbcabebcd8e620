/** Examples in the space that images and words share: regions of words, which their embeddings are mixed with. */

import type { LabelMap } from "../backend";
import { CLASS_LOGITS, type FeatureMap } from "../onnx/feature_maps";
import type { Embeddings, Region } from "../onnx/regions";
import { NONE } from "../labels/labeling";
import { labelsOfCells } from "./cells";

/** Shares of the regions in the words' embeddings that are tried, beside 0. */
export const SHARES = [0.25, 0.5] as const;

/** Images from which on networks that know classes are taught by classifiers alone. */
const FEW_IMAGES = 10;

/** For each word that an image shows, by its index: the direction of its cells in the space of the words. */
export type WordRegions = ReadonlyMap<number, Float64Array>;

/** Whether regions are worth a try in the words' embeddings of a network: it has maps in their space. */
export function mixes(names: readonly string[], images: number): boolean {
  const isFew = !names.includes(CLASS_LOGITS) || images < FEW_IMAGES;
  return isFew && names.some((name) => name.startsWith("map_"));
}

/**
 * The regions of one image: for each word, the mean of its cells, which all have unit length.
 *
 * @param maps those that the network compares with words, each with a grid of its own.
 */
export function regionsOf(maps: readonly FeatureMap[], labels: LabelMap): WordRegions {
  const found = new Map<number, Float64Array>();
  for (const { values, channels, rows, columns } of maps) {
    const cells = rows * columns;
    const ofCells = labelsOfCells(labels, rows, columns);
    const sums = new Map<number, Float64Array>();
    for (let cell = 0; cell < cells; cell++) {
      if (ofCells[cell] === NONE) continue;
      const direction = Float64Array.from({ length: channels }, (_, channel) => values[channel * cells + cell]);
      add(sums, ofCells[cell], unit(direction));
    }
    for (const [word, sum] of sums) add(found, word, unit(sum));
  }
  return new Map([...found].map(([word, sum]) => [word, unit(sum)]));
}

/**
 * Where examples pull each word: its mean region, moved from where images are to where texts are.
 *
 * Embeddings of images and of texts lie apart by nearly the same vector everywhere, so the mean of all regions is taken
 * off, and that of the words' texts added: u = v - mean(v) + mean(e), with unit lengths.
 *
 * @returns none if fewer than two words have regions.
 */
export function towardExamples(images: readonly WordRegions[], { values, prompts, channels }: Embeddings): WordRegions {
  const sums = new Map<number, Float64Array>();
  for (const regions of images) for (const [word, direction] of regions) add(sums, word, direction);
  if (sums.size < 2) return new Map();
  const shown = [...sums.keys()].sort((one, other) => one - other);
  const means = shown.map((word) => unit(sums.get(word)!));
  const texts = shown.flatMap((word) =>
    Array.from({ length: prompts }, (_, prompt) => {
      const from = (word * prompts + prompt) * channels;
      return unit(Float64Array.from(values.subarray(from, from + channels)));
    }),
  );
  const [ofImages, ofTexts] = [mean(means), mean(texts)];
  return new Map(shown.map((word, at) => [word, unit(means[at].map((one, c) => one - ofImages[c] + ofTexts[c]))]));
}

/** What the embeddings of words are mixed with. */
export function regionsToMix(toward: WordRegions, share: number): Region[] {
  return [...toward].map(([index, direction]) => ({ index, toward: Float32Array.from(direction), share }));
}

function add(sums: Map<number, Float64Array>, key: number, vector: Float64Array): void {
  const before = sums.get(key);
  if (before) for (let at = 0; at < vector.length; at++) before[at] += vector[at];
  else sums.set(key, vector.slice());
}

function unit(vector: Float64Array): Float64Array {
  const length = Math.max(1e-12, Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0)));
  return vector.map((value) => value / length);
}

function mean(vectors: readonly Float64Array[]): Float64Array {
  return vectors[0].map((_, at) => vectors.reduce((sum, vector) => sum + vector[at], 0) / vectors.length);
}
