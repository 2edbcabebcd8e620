/** Learns words from cells of labeled images, judged on images that were held out; as Python's `learn`. */

import { PageError } from "../backend";
import { withheld } from "../onnx/teaching";
import { logitsOf, type Cells } from "./cells";
import { componentsOf, reducedCells, type Components } from "./components";
import { fit, products, type Classifiers, type Penalty } from "./fitting";
import type { Pause } from "./pause";
import { Random } from "./random";
import { scoresOf, value, type Scores } from "./scores";

/** Penalties that are tried, from trusting text to trusting examples. */
const PENALTIES: readonly Penalty[] = [
  { weights: 0.2, bias: 0.2 },
  { weights: 0.04, bias: 0.04 },
  { weights: 0.04, bias: 0.004 },
  { weights: 0.01, bias: 0.001 },
  { weights: 0.003, bias: 0.0003 },
];

/** What a smaller penalty, or a share of regions, has to gain, and what it may lose before no other is tried [points]. */
const BETTER = 0.5, HOPELESS = 4;

/** Factor of the classifier of a word in a single image: no held-out image can tell whether it is right. */
const SINGLE_IMAGE = 0.5;

/** Parts that images are divided into for cross-validation. */
const FOLDS = 4;

/** Cells of the images that judge, at most: with more, a part of the images is held out once. */
const HELD_OUT_CELLS = 12_000;

/** The seed of everything that is drawn, as Python's. */
export const SEED = 0;

/** A word that was taught, and how well; scores are IoU [%] on held-out images. */
export interface TaughtWord {
  readonly name: string;
  /** Images that show it, and its labeled pixels in them. */
  readonly images: number;
  readonly pixels: number;
  /** By its text alone; null: no held-out image shows it. */
  readonly before: number | null;
  /** With examples. */
  readonly after: number | null;
  /** Whether it keeps its text alone, because examples made it worse. */
  readonly keepsText: boolean;
}

/** Classifiers and what was measured on held-out images. */
export interface Learned {
  readonly components: Components;
  /** Of the words that don't keep their text. */
  readonly classifiers: Classifiers;
  /** All words with labeled cells, in the order of their indices. */
  readonly words: readonly TaughtWord[];
  readonly penalty: Penalty;
  /** The share of regions that was chosen: 0 for text alone, and from 1 on those that the cells have. */
  readonly share: number;
  readonly before: Scores;
  readonly after: Scores;
}

/** What is known of the words of the images. */
export interface Examples {
  readonly cells: Cells;
  readonly words: readonly string[];
  /** Labeled pixels of each word, and images that show it. */
  readonly pixels: Float64Array;
  readonly images: Float64Array;
  /** The parts that images are held out in. */
  readonly parts: readonly (readonly number[])[];
}

/** Cells of one part of the images, and of the others. */
interface Fold {
  readonly held: Int32Array;
  readonly others: Int32Array;
}

/** Classifiers of each fold, and how they did. */
interface Tried {
  readonly penalty: Penalty;
  readonly share: number;
  readonly fitted: readonly Classifiers[];
  readonly after: Scores;
}

/** The parts that images are held out in, which are drawn. */
export function heldOutParts(images: ArrayLike<number>): number[][] {
  const drawn = new Random(SEED).permutation([...new Set(Array.from(images))].sort((one, other) => one - other));
  const parts = Math.min(FOLDS, Math.max(1, drawn.length));
  const least = Math.floor(drawn.length / parts), larger = drawn.length % parts;
  return Array.from({ length: parts }, (_, part) => {
    const start = part * least + Math.min(part, larger);
    return drawn.slice(start, start + least + (part < larger ? 1 : 0));
  });
}

/** How often `learn` fits classifiers, for progress. */
export function fitsOf(cells: Cells, parts: Examples["parts"]): number {
  return (PENALTIES.length + cells.mixed.length) * foldsOf(cells, parts).length + 1;
}

/**
 * Fit classifiers of the words that labeled cells show, and measure on held-out images what they are good for.
 *
 * First the penalty is chosen with the text alone. Regions have to add to what these classifiers gain: with this
 * penalty, each share is tried.
 *
 * @param onFit called after each fit, for progress.
 * @throws PageError there are fewer than two labeled images or words.
 */
export async function learn(examples: Examples, pause: Pause, onFit: () => void): Promise<Learned> {
  const { cells, words: names, images } = examples;
  const shown = distinct(cells.labels);
  if (shown.length < 2)
    throw new PageError(
      `Only “${names[shown[0]]}” has labels in these images; words are learned by telling them apart, so label at least two.`,
    );
  if (distinct(cells.images).length < 2)
    throw new PageError("Only one image has labels; mark at least two as done, so that one can be held out.");
  const components = await componentsOf(cells, pause);
  const inputs = await reducedCells(cells, components, pause);
  const judge = new Judge(cells, inputs, components.count + 1, foldsOf(cells, examples.parts), shown, pause, onFit);
  const before = judge.byText();
  const best = await bestOf(judge, before);
  const { penalty, fitted } = best;
  let { after } = best;
  let taught = shown;
  const gain = (word: number) => after.iou[word] - before.iou[word];
  for (const word of shown.filter((one) => gain(one) < 0).sort((one, other) => gain(one) - gain(other))) {
    const fewer = taught.filter((other) => other !== word);
    const without = judge.scores(fitted, best.share, fewer);
    if (without.iou[word] > after.iou[word]) [taught, after] = [fewer, without];
  }
  if (value(after, before) <= 0) [taught, after] = [[], before];
  const share = taught.length ? best.share : 0;
  const kept = new Set(taught);
  const words = shown.map((word) => ({
    name: names[word],
    images: images[word],
    pixels: examples.pixels[word],
    before: rounded(before.iou[word]),
    after: rounded(after.iou[word]),
    keepsText: !kept.has(word),
  }));
  const final = await judge.final(penalty, share, shown.filter((word) => !kept.has(word)));
  return { components, classifiers: trusted(final, taught, images), words, penalty, share, before, after };
}

/** The best penalty by text alone, and with it the best share. */
async function bestOf(judge: Judge, before: Scores): Promise<Tried> {
  let best = await judge.tried(PENALTIES[0], 0);
  const gain = ({ after }: Tried) => value(after, before);
  for (const penalty of PENALTIES.slice(1)) {
    const other = await judge.tried(penalty, 0);
    if (gain(other) > gain(best) + BETTER) best = other;
    else if (gain(other) < gain(best) - HOPELESS) break;
  }
  for (let share = 1; share <= judge.cells.mixed.length; share++) {
    const other = await judge.tried(best.penalty, share);
    if (gain(other) > gain(best) + BETTER) best = other;
  }
  return best;
}

/** Tries classifiers with the cells of each fold held out. */
class Judge {
  constructor(
    readonly cells: Cells,
    private readonly inputs: Float64Array,
    private readonly size: number,
    private readonly folds: readonly Fold[],
    private readonly shown: readonly number[],
    private readonly pause: Pause,
    private readonly onFit: () => void,
  ) {}

  /** Fit the classifiers of all words. */
  async tried(penalty: Penalty, share: number): Promise<Tried> {
    const logits = logitsOf(this.cells, share);
    const fitted: Classifiers[] = [];
    for (const { others } of this.folds) fitted.push(await this.fitted(logits, others, penalty, null));
    return { penalty, share, fitted, after: this.scores(fitted, share, this.shown) };
  }

  /** Fit the classifiers of all words on all cells, of which some words keep their text. */
  final(penalty: Penalty, share: number, keepText: readonly number[]): Promise<Classifiers> {
    const all = Int32Array.from({ length: this.cells.count }, (_, at) => at);
    return this.fitted(logitsOf(this.cells, share, keepText), all, penalty, this.shown);
  }

  /** How well held-out cells are labeled by text alone. */
  byText(): Scores {
    return this.scored(({ held }) => strongest(this.cells.byText, this.cells.words, held));
  }

  /** How well they are labeled if only some words use their classifiers. */
  scores(fitted: readonly Classifiers[], share: number, taught: readonly number[]): Scores {
    const keepText = this.shown.filter((word) => !taught.includes(word));
    const logits = logitsOf(this.cells, share, keepText);
    return this.scored(({ held }, fold) => {
      const own = logits.slice(), { words } = this.cells;
      addTo(own, words, held, fitted[fold], taught, products(this.inputs, held, fitted[fold].weights, this.size));
      return strongest(own, words, held);
    });
  }

  private scored(predict: (fold: Fold, place: number) => Int32Array): Scores {
    const predicted = this.folds.map(predict);
    return scoresOf(this.cells, this.folds.map(({ held }) => held), predicted);
  }

  private async fitted(
    logits: Float32Array,
    rows: Int32Array,
    penalty: Penalty,
    words: readonly number[] | null,
  ): Promise<Classifiers> {
    const { labels, words: wordCount } = this.cells;
    const given = { inputs: this.inputs, size: this.size, logits, wordCount, labels, rows };
    const own = words ?? distinct(Int32Array.from(rows, (row) => labels[row]));
    const found = await fit(given, own, penalty, new Random(SEED), this.pause);
    this.onFit();
    return found;
  }
}

/** Add the scores of some words to the logits of cells; see `TaughtQuery`. */
function addTo(
  logits: Float32Array,
  words: number,
  rows: Int32Array,
  classifiers: Classifiers,
  taught: readonly number[],
  scores: Float64Array,
): void {
  const used = [...classifiers.words.entries()].filter(([, word]) => taught.includes(word));
  const hasStrangers = classifiers.words.length < words;
  for (const [at, row] of rows.entries()) {
    let before = -Infinity, after = -Infinity;
    for (const [place, word] of used) {
      before = Math.max(before, logits[row * words + word]);
      logits[row * words + word] += scores[at * classifiers.words.length + place];
      after = Math.max(after, logits[row * words + word]);
    }
    if (!hasStrangers || !used.length) continue;
    const lost = withheld(before, after);
    for (const [, word] of used) logits[row * words + word] -= lost;
  }
}

/** The word with the highest logit of each cell, the first of several. */
function strongest(logits: Float32Array, words: number, rows: Int32Array): Int32Array {
  return rows.map((row) => {
    let best = 0;
    for (let word = 1; word < words; word++) if (logits[row * words + word] > logits[row * words + best]) best = word;
    return best;
  });
}

/** The classifiers of the words that don't keep their text, weaker where a single image shows the word. */
function trusted({ words, weights, size }: Classifiers, taught: readonly number[], images: Float64Array): Classifiers {
  const found = new Float64Array(taught.length * size);
  for (const [at, word] of taught.entries()) {
    const from = words.indexOf(word) * size, trust = images[word] === 1 ? SINGLE_IMAGE : 1;
    for (let own = 0; own < size; own++) found[at * size + own] = trust * weights[from + own];
  }
  return { words: taught, weights: found, size };
}

/** For each fold, which cells are held out: those of whole images; at least one cell is, and at least one isn't. */
function foldsOf({ count, images }: Cells, parts: Examples["parts"]): Fold[] {
  const all = Int32Array.from({ length: count }, (_, at) => at);
  const folds = parts.map((part) => {
    const isHeld = new Set(part);
    return { held: all.filter((at) => isHeld.has(images[at])), others: all.filter((at) => !isHeld.has(images[at])) };
  });
  const useful = folds.filter(({ held, others }) => held.length && others.length);
  return count <= HELD_OUT_CELLS ? useful : useful.slice(0, 1);
}

/** The numbers that occur, ascending. */
function distinct(numbers: Int32Array): number[] {
  return [...new Set(numbers)].sort((one, other) => one - other);
}

function rounded(score: number): number | null {
  return Number.isNaN(score) ? null : Math.round(100 * score) / 100;
}
