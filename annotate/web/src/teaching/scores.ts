/** How well held-out cells are labeled. */

import type { Cells } from "./cells";

/** Scores of held-out cells [%]. */
export interface Scores {
  /** Of each word; NaN where no held-out cell shows it. */
  readonly iou: Float64Array;
  /** Mean IoU over the words that held-out cells show. */
  readonly miou: number;
  /** Share of the right pixels. */
  readonly accuracy: number;
}

/** The scores of predictions; each cell counts as many pixels as it stands for. */
export function scoresOf(
  { words, labels, weights }: Cells,
  rows: readonly Int32Array[],
  predicted: readonly Int32Array[],
): Scores {
  const right = new Float64Array(words), labeled = new Float64Array(words), found = new Float64Array(words);
  for (const [fold, own] of rows.entries()) {
    for (const [at, row] of own.entries()) {
      labeled[labels[row]] += weights[row];
      found[predicted[fold][at]] += weights[row];
      if (predicted[fold][at] === labels[row]) right[labels[row]] += weights[row];
    }
  }
  const iou = right.map((share, word) =>
    labeled[word] > 0 ? (100 * share) / Math.max(labeled[word] + found[word] - share, 1e-9) : NaN,
  );
  const known = iou.filter((value) => !Number.isNaN(value));
  const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);
  return { iou, miou: sum(known) / known.length, accuracy: (100 * sum(right)) / Math.max(sum(labeled), 1e-9) };
}

/** What a penalty is chosen by: the sum of the gains in mean IoU and accuracy, where a loss counts twice. */
export function value(after: Scores, before: Scores): number {
  const gains = [after.miou - before.miou, after.accuracy - before.accuracy];
  return gains.reduce((sum, gain) => sum + gain + Math.min(gain, 0), 0);
}
