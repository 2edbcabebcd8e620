/** Fits one linear classifier for each word on top of its logits by text. */

import { counts } from "./cells";
import type { Pause } from "./pause";
import type { Random } from "./random";

/** Steps of Adam, cells in a step, and its learning rate, which falls to 0 along a cosine. */
const STEPS = 80, BATCH = 2048, RATE = 0.1;

/** Share of the loss in which a random half of the words has to do with its text. */
const UNTAUGHT = 0.5;

/** Weights of the penalties on the squares of a classifier's weights and of its bias. */
export interface Penalty {
  readonly weights: number;
  readonly bias: number;
}

/** Labeled cells to fit on; all arrays have a row for each cell, of which `rows` are used. */
export interface Fitted {
  /** Components of the cells, with a last one of 1: (cells, size). */
  readonly inputs: Float64Array;
  readonly size: number;
  /** Logits of all words: (cells, words). */
  readonly logits: Float32Array;
  readonly wordCount: number;
  readonly labels: Int32Array;
  readonly rows: Int32Array;
}

/** Linear classifiers of some words on components, which are added to the logits. */
export interface Classifiers {
  /** Indices of the words, ascending. */
  readonly words: readonly number[];
  /** Weights of the components, and the bias as the last: (words, size). */
  readonly weights: Float64Array;
  readonly size: number;
}

/**
 * Minimize the cross-entropy of softmax(z + m (W c + b)) + w |W|^2 + v |b|^2 over W and b by Adam.
 *
 * z are the logits by text, so that without examples nothing changes. In half of the loss m is 0 for a random half of
 * the words: classifiers learn to compete with words that only have their text. Cells count by the frequency of their
 * word to the power of -0.5. Batches are drawn as Python's `fit` draws them.
 *
 * @param words indices of the words to fit, ascending.
 */
export async function fit(
  cells: Fitted,
  words: readonly number[],
  penalty: Penalty,
  random: Random,
  pause: Pause,
): Promise<Classifiers> {
  const { size, rows, labels, wordCount } = cells;
  const ofWord = counts(Int32Array.from(rows, (row) => labels[row]), wordCount);
  const importance = Float64Array.from(rows, (row) => ofWord[labels[row]] ** -0.5);
  const place = new Int32Array(wordCount).fill(-1);
  for (const [at, word] of words.entries()) place[word] = at;
  const weights = new Float64Array(words.length * size);
  const mean = new Float64Array(weights.length), square = new Float64Array(weights.length);
  const isAll = rows.length <= BATCH;
  const batch = new Int32Array(Math.min(BATCH, rows.length));
  const shares = new Float64Array(batch.length);
  for (let step = 0; step < STEPS; step++) {
    await pause();
    let total = 0;
    for (let at = 0; at < batch.length; at++) {
      const drawn = isAll ? at : random.below(rows.length);
      batch[at] = rows[drawn];
      total += shares[at] = importance[drawn];
    }
    const half = Float64Array.from(words, () => (random.double() < 0.5 ? 1 : 0));
    const scores = products(cells.inputs, batch, weights, size);
    for (let at = 0; at < batch.length; at++) {
      const own = scores.subarray(at * words.length, (at + 1) * words.length);
      slopes(own, cells.logits.subarray(batch[at] * wordCount, (batch[at] + 1) * wordCount), words, half);
      const truth = place[labels[batch[at]]];
      for (let word = 0; word < own.length; word++) {
        const right = word === truth ? 1 - UNTAUGHT + UNTAUGHT * half[word] : 0;
        own[word] = (own[word] - right) * (shares[at] / total);
      }
    }
    const slope = sums(cells.inputs, batch, scores, words.length, size);
    const rate = (RATE * (1 + Math.cos((Math.PI * step) / STEPS))) / 2;
    const ofMean = 1 / (1 - 0.9 ** (step + 1)), ofSquare = 1 / (1 - 0.999 ** (step + 1));
    for (let at = 0; at < weights.length; at++) {
      const shrink = 2 * ((at + 1) % size ? penalty.weights : penalty.bias);
      const down = slope[at] + shrink * weights[at];
      mean[at] = 0.9 * mean[at] + 0.1 * down;
      square[at] = 0.999 * square[at] + 0.001 * down * down;
      weights[at] -= (rate * mean[at] * ofMean) / (Math.sqrt(square[at] * ofSquare) + 1e-8);
    }
  }
  return { words, weights, size };
}

/** In place of the scores of a cell's taught words, put their probabilities in both parts of the loss. */
function slopes(scores: Float64Array, logits: Float32Array, words: readonly number[], half: Float64Array): void {
  let most = -Infinity, mostOfHalf = -Infinity, at = 0;
  for (let word = 0; word < logits.length; word++) {
    const isTaught = words[at] === word;
    const all = logits[word] + (isTaught ? scores[at] : 0);
    const some = logits[word] + (isTaught ? scores[at] * half[at] : 0);
    if (all > most) most = all;
    if (some > mostOfHalf) mostOfHalf = some;
    if (isTaught) at++;
  }
  let sum = 0, sumOfHalf = 0;
  at = 0;
  for (let word = 0; word < logits.length; word++) {
    const isTaught = words[at] === word;
    sum += Math.exp(logits[word] + (isTaught ? scores[at] : 0) - most);
    sumOfHalf += Math.exp(logits[word] + (isTaught ? scores[at] * half[at] : 0) - mostOfHalf);
    if (isTaught) at++;
  }
  for (let own = 0; own < words.length; own++) {
    const logit = logits[words[own]], score = scores[own];
    const whole = Math.exp(logit + score - most) / sum;
    // words of the other half don't learn from this part
    const part = half[own] ? Math.exp(logit + score - mostOfHalf) / sumOfHalf : 0;
    scores[own] = (1 - UNTAUGHT) * whole + UNTAUGHT * part;
  }
}

/** The products of some rows with all classifiers: (rows, words). */
export function products(inputs: Float64Array, rows: Int32Array, weights: Float64Array, size: number): Float64Array {
  const words = weights.length / size;
  const found = new Float64Array(rows.length * words);
  const rowTiles = rows.length - (rows.length % 4), wordTiles = words - (words % 2);
  for (let at = 0; at < rowTiles; at += 4) {
    const p = rows[at] * size, q = rows[at + 1] * size, r = rows[at + 2] * size, s = rows[at + 3] * size;
    for (let word = 0; word < wordTiles; word += 2) {
      // eight sums in registers, since memory is what takes time
      let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
      const one = word * size, other = one + size;
      for (let own = 0; own < size; own++) {
        const x = weights[one + own], y = weights[other + own];
        const v = inputs[p + own], w = inputs[q + own], t = inputs[r + own], u = inputs[s + own];
        a += x * v; b += y * v; c += x * w; d += y * w;
        e += x * t; f += y * t; g += x * u; h += y * u;
      }
      const to = at * words + word;
      found[to] = a; found[to + 1] = b;
      found[to + words] = c; found[to + words + 1] = d;
      found[to + 2 * words] = e; found[to + 2 * words + 1] = f;
      found[to + 3 * words] = g; found[to + 3 * words + 1] = h;
    }
  }
  for (let at = 0; at < rows.length; at++) {
    for (let word = at < rowTiles ? wordTiles : 0; word < words; word++) {
      let sum = 0;
      for (let own = 0; own < size; own++) sum += inputs[rows[at] * size + own] * weights[word * size + own];
      found[at * words + word] = sum;
    }
  }
  return found;
}

/** For each word the sum of some rows with its factors: (words, size). */
function sums(inputs: Float64Array, rows: Int32Array, factors: Float64Array, words: number, size: number): Float64Array {
  const found = new Float64Array(words * size);
  const rowTiles = rows.length - (rows.length % 4), wordTiles = words - (words % 2);
  for (let at = 0; at < rowTiles; at += 4) {
    const p = rows[at] * size, q = rows[at + 1] * size, r = rows[at + 2] * size, s = rows[at + 3] * size;
    for (let word = 0; word < wordTiles; word += 2) {
      const from = at * words + word, one = word * size, other = one + size;
      const a = factors[from], b = factors[from + words], c = factors[from + 2 * words], d = factors[from + 3 * words];
      const e = factors[from + 1], f = factors[from + words + 1];
      const g = factors[from + 2 * words + 1], h = factors[from + 3 * words + 1];
      for (let own = 0; own < size; own++) {
        const v = inputs[p + own], w = inputs[q + own], t = inputs[r + own], u = inputs[s + own];
        found[one + own] += a * v + b * w + c * t + d * u;
        found[other + own] += e * v + f * w + g * t + h * u;
      }
    }
  }
  for (let at = 0; at < rows.length; at++)
    for (let word = at < rowTiles ? wordTiles : 0; word < words; word++)
      for (let own = 0; own < size; own++)
        found[word * size + own] += factors[at * words + word] * inputs[rows[at] * size + own];
  return found;
}
