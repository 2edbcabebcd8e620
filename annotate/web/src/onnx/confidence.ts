/** How likely labels are right, as `segvoc.inference.confidence` says. */

import type { Maps } from "./strongest_class";

/** Cells along the longer side of the maps that the figures of an image are computed from, at most twice as many. */
const GRID = 56;

/** Logits beyond this count as this. */
const MOST = 6;

/** Logit of words that class selection dropped. */
const DROPPED = -100;

/** Mean score of the likeliest words below which they are probably not in the image. */
const ABSENT = 0.06;

/** A lead of the likeliest word below this is close [logits]. */
const CLOSE = 0.5;

/** log-odds(label is right) = slope * logit + offset of the word in the image. */
export interface ConfidenceModel {
  readonly slope: number;
  readonly bias: number;
  readonly word: readonly number[];
  readonly image: readonly number[];
}

/** Of a word: whether the network was trained on it, on a word of its kind, and whether it is a part. */
export type WordFacts = readonly [number, number, number];

const clipped = (logit: number) => Math.min(MOST, Math.max(-MOST, logit));

/** The offset of each word [log-odds] in an image; `place` is that of a word among the maps, -1 if it was dropped. */
export function offsets(model: ConfidenceModel, maps: Maps, place: readonly number[], words: readonly WordFacts[]): number[] {
  const count = words.length;
  const step = Math.max(1, Math.round(Math.max(maps.rows, maps.columns) / GRID));
  const first = Math.floor(step / 2);
  const sums = words.map(() => ({ cells: 0, logit: 0, probability: 0 }));
  let cells = 0, score = 0, logit = 0, lead = 0, close = 0, probability = 0, entropy = 0;
  for (let row = first; row < maps.rows; row += step) {
    for (let column = first; column < maps.columns; column += step) {
      const at = row * maps.columns + column;
      const logits = place.map((map) => (map < 0 ? DROPPED : maps.values[map * maps.rows * maps.columns + at]));
      const best = Math.max(...logits), winner = logits.indexOf(best);
      const second = logits.reduce((most, one, word) => (word === winner ? most : Math.max(most, one)), -Infinity);
      const powers = logits.map((one) => Math.exp(one - best));
      const total = powers.reduce((sum, power) => sum + power, 0);
      const ahead = Math.min(4, best - second);
      cells++;
      score += 1 / (1 + Math.exp(-best));
      logit += clipped(best);
      lead += ahead;
      close += ahead < CLOSE ? 1 : 0;
      probability += 1 / total;
      entropy += Math.log(total) - powers.reduce((sum, power, word) => sum + power * (logits[word] - best), 0) / total;
      const own = sums[winner];
      own.cells++;
      own.logit += best;
      own.probability += 1 / total;
    }
  }
  const share = sums.map((own) => own.cells / cells);
  const number = Math.log(count);
  const total = (weight: (word: number) => number) => words.reduce((sum, _, word) => sum + weight(word), 0);
  const image = [
    logit / cells, lead / cells, close / cells, probability / cells, entropy / cells / Math.max(0.5, number), number,
    Math.max(...share), share.filter((one) => one > 0.01).length / count,
    ...[0, 1, 2].map((fact) => total((word) => share[word] * words[word][fact])),
    ...[0, 1].map((fact) => total((word) => words[word][fact]) / count),
    Math.max(0, Math.log(ABSENT / Math.max(1e-6, score / cells))),
  ];
  const ofImage = model.bias + dot(model.image, image);
  return words.map((facts, word) => {
    const own = sums[word], size = Math.max(1, own.cells);
    return ofImage + dot(model.word, [...facts, share[word], clipped(own.logit / size), own.probability / size]);
  });
}

/** The confidence of a label [0, 1] by its logit and its word's offset. */
export function confidence(model: ConfidenceModel, logit: number, offset: number): number {
  return 1 / (1 + Math.exp(-(model.slope * clipped(logit) + offset)));
}

function dot(weights: readonly number[], figures: readonly number[]): number {
  return weights.reduce((sum, weight, at) => sum + weight * figures[at], 0);
}
