/** The words of an image's pixels in the end, by the model, the threshold and a person; and where to look first. */

import type { Segmentation } from "../backend";
import { BACKGROUND_COLOR, type Color, wordColor } from "../imaging/palette";
import type { Change, Edits } from "./edits";
import { type Box, grown, type Point, rowsOf, type Size, split } from "./runs";
import { sameClass } from "./synonyms";

/** The label of a pixel without a word, or without a part. */
export const NONE = 65535;

/** What becomes of pixels whose word is unlikely. */
export interface Rule {
  /** Confidence below which a pixel loses its word, in [0, 1]; 0: none does. */
  readonly threshold: number;
  /** The class that such pixels get; null: they stay without one. */
  readonly background: string | null;
}

export interface WordEntry {
  readonly id: number;
  readonly color: Color;
}

/** Labels that nothing changes. */
export interface Settled {
  /** The words that the model looked for, and then those that are only painted. */
  readonly words: readonly string[];
  /** Index into `words` of each pixel's word; 65535: none. */
  readonly labels: Uint16Array;
}

export class Labeling {
  readonly width: number;
  readonly height: number;
  /** The words that were looked for, and the background if there is one. */
  readonly words: readonly string[];
  /** Index into `words` of each pixel's word; 65535: none. */
  readonly labels: Uint16Array;
  /** Number of each word, which it keeps while others come and go. */
  readonly ids: readonly number[];
  readonly colors: readonly Color[];
  readonly tally: Tally;
  private readonly background: number;
  /** Confidence below which the rule holds, in [0, 256]. */
  private readonly least: number;
  /** Labels by what the layer of corrections has; -1: as the model found it. */
  private corrected = Int32Array.of(-1);
  /** Labels of the words of the objects 1, 2, ... at their numbers; -1: the word isn't looked for. */
  private readonly owners = [-1];

  /** @param settled the labels of an image that is done, which neither rules nor corrections change. */
  constructor(
    readonly found: Segmentation,
    readonly edits: Edits,
    { threshold, background }: Rule,
    entry: (word: string, index: number) => WordEntry = (_, id) => ({ id, color: wordColor(id) }),
    private readonly settled: Settled | null = null,
  ) {
    this.width = found.width;
    this.height = found.height;
    const isUsed = background !== null && threshold > 0 && !settled;
    const known = isUsed ? found.words.findIndex((word) => sameClass(word, background)) : NONE;
    this.words = settled?.words ?? (isUsed && known < 0 ? [...found.words, background] : found.words);
    const entries = this.words.map(entry);
    this.ids = entries.map(({ id }) => id);
    this.background = known < 0 ? found.words.length : known;
    this.colors = entries.map(({ color }, label) => (label === this.background ? BACKGROUND_COLOR : color));
    this.least = threshold * 255;
    this.labels = settled?.labels ?? new Uint16Array(found.labels.length);
    this.tally = new Tally(found);
    this.knowNames();
    for (const [code, runs] of split(rowsOf(this), (pixel) => edits.layer[pixel]))
      for (let at = 0; at < runs.length; at += 2) this.label(runs[at], runs[at] + runs[at + 1], code);
  }

  take({ runs, isUndone }: Change): void {
    this.knowNames();
    const all = runs.length / 4;
    for (let number = 0; number < all; number++) {
      // in the order in which the pixels changed
      const at = 4 * (isUndone ? all - 1 - number : number);
      const [start, end, before, after] = [runs[at], runs[at] + runs[at + 1], runs[at + 2], runs[at + 3]];
      this.count(start, end, isUndone ? after : before, -1);
      this.label(start, end, isUndone ? before : after);
    }
  }

  /** Words may have been corrected to that weren't before. */
  private knowNames(): void {
    const { names } = this.edits;
    const more = names.slice(this.corrected.length - 1);
    if (more.length) this.corrected = Int32Array.of(...this.corrected, ...more.map((name) => this.indexOf(name)));
  }

  /** Work out the labels of a stretch of pixels in a row for which the layer of corrections has a code. */
  private label(start: number, end: number, code: number): void {
    const { background, found, labels, least } = this;
    const edit = this.corrected[code];
    if (edit >= 0 && !this.settled) labels.fill(edit, start, end);
    else if (!this.settled)
      for (let at = start; at < end; at++) labels[at] = found.confidence[at] < least ? background : found.labels[at];
    this.count(start, end, code, 1);
  }

  /** Add a stretch of pixels to the tally, or take it away (-1), as they are labeled now. */
  private count(start: number, end: number, code: number, sign: 1 | -1): void {
    const { found, labels, tally, width } = this;
    const edit = this.corrected[code];
    if (found.parts) for (let at = start; at < end; at++) tally.parts[this.part(at)] += sign;
    if (edit >= 0) {
      const pixels = sign * (end - start);
      tally.pixels[edit] += pixels;
      tally.confidence[edit] += 255 * pixels;
      tally.corrected += pixels;
      return;
    }
    const { columns, confidence, doubt, pixels, side, undecided } = tally;
    const row = Math.floor(start / width);
    for (let at = start; at < end;) {
      const column = Math.floor((at - row * width) / side);
      const square = Math.floor(row / side) * columns + column;
      const stop = Math.min(end, row * width + (column + 1) * side);
      undecided[square] += sign * (stop - at);
      let sum = 0;
      for (; at < stop; at++) {
        const sure = this.foundConfidence(at);
        pixels[labels[at]] += sign;
        confidence[labels[at]] += sign * sure;
        sum += 255 - sure;
      }
      doubt[square] += sign * sum;
    }
  }

  /** Confidence of a pixel's label, in [0, 255]: certain where a person decided. */
  confidence(pixel: number): number {
    return this.isCorrected(pixel) ? 255 : this.foundConfidence(pixel);
  }

  /** The same, if nobody decided. */
  private foundConfidence(pixel: number): number {
    const found = this.found.confidence[pixel];
    return found < this.least && this.background !== NONE && !this.settled ? 255 - found : found;
  }

  isCorrected(pixel: number): boolean {
    return this.corrected[this.edits.layer[pixel]] >= 0;
  }

  /** Index of a pixel's part, where it still has the word that it was found with; else 65535. */
  part(pixel: number): number {
    const { parts, labels } = this.found;
    return parts && this.labels[pixel] === labels[pixel] ? parts.labels[pixel] : NONE;
  }

  /** Number of a pixel's object; 0: it has none, or another word than its object. */
  object(pixel: number): number {
    const { objectLayer: layer } = this.edits;
    const number = layer ? layer[pixel] : 0;
    return number && this.objectLabel(number) === this.labels[pixel] ? number : 0;
  }

  /** Label of the word of an object; -1: the word isn't looked for any more. */
  objectLabel(number: number): number {
    const { owners } = this;
    while (owners.length <= number) owners.push(this.indexOf(this.edits.owners[owners.length - 1]));
    return owners[number];
  }

  /** The word of a pixel; null: none. */
  wordAt(pixel: number): string | null {
    return this.labels[pixel] === NONE ? null : this.words[this.labels[pixel]];
  }

  /** Index of the class with this name, 65535 for no word, or -1 for a word that isn't looked for any more. */
  private indexOf(name: string | null): number {
    return name === null ? NONE : this.words.findIndex((word) => sameClass(word, name));
  }
}

export interface Figures {
  readonly id: number;
  readonly name: string;
  readonly pixels: number;
  /** Share of the image's pixels, in [0, 1]. */
  readonly fraction: number;
  /** In [0, 1]; null for a word without pixels. */
  readonly meanConfidence: number | null;
}

export function figures(labeling: Labeling): Figures[] {
  const { words, labels, tally } = labeling;
  return words.map((name, id) => entry(id, name, tally.pixels[id], tally.confidence[id] / 255, labels.length));
}

/** The figures of every part, whose confidence isn't known. */
export function partFigures(labeling: Labeling): Figures[] {
  const { parts } = labeling.found;
  if (!parts) return [];
  return parts.names.map(({ name }, id) => ({
    ...entry(id, name, labeling.tally.parts[id], 0, parts.labels.length),
    meanConfidence: null,
  }));
}

function entry(id: number, name: string, pixels: number, confidence: number, all: number): Figures {
  return { id, name, pixels, fraction: pixels / all, meanConfidence: pixels ? confidence / pixels : null };
}

/** Side of the squares whose doubt is added up, as a share of the image's shorter side. */
const SQUARE = 1 / 16;

/** Labels and parts are below it; the last one is that of no word, or no part. */
const PLACES = 65536;

/** All sums are of whole numbers, so that what is taken away leaves nothing behind. */
class Tally {
  readonly pixels = new Float64Array(PLACES);
  /** Confidence of each label's pixels, in [0, 255], added up. */
  readonly confidence = new Float64Array(PLACES);
  /** Pixels of each part; without parts, nothing is counted. */
  readonly parts = new Float64Array(PLACES);
  corrected = 0;
  /** Side of the squares [px], and how many there are in a row. */
  readonly side: number;
  readonly columns: number;
  /** For each square, 255 - confidence of the pixels that nobody decided, added up, and how many these are. */
  readonly doubt: Float64Array;
  readonly undecided: Float64Array;

  constructor({ width, height }: Size) {
    this.side = Math.max(1, Math.round(SQUARE * Math.min(width, height)));
    this.columns = Math.ceil(width / this.side);
    const squares = this.columns * Math.ceil(height / this.side);
    this.doubt = new Float64Array(squares);
    this.undecided = new Float64Array(squares);
  }
}

/** Squares between two places at least, and squares around one that are shown with it. */
const APART = 3,
  AROUND = 2;

/** Places of an image at most. */
const MOST = 30;

/** The mean doubt from which there is something to look at, in [0, 1]. */
const LEAST_DOUBT = 0.2;

export interface DoubtfulPlace extends Point {
  /** What to show of the image [px]. */
  readonly box: Box;
  /** Mean of 1 - confidence over its square, in [0, 1]; pixels that a person decided are certain. */
  readonly doubt: number;
}

/**
 * The places of an image in which the model doubts most, the worst first.
 *
 * They are the middles of squares of the tally with the highest sums of 1 - confidence, and keep a distance from each
 * other.
 *
 * @param least doubt that a place must have at least, in [0, 1]; without any, nothing is a place.
 */
export function doubtfulPlaces({ tally, width, height }: Labeling, most = MOST, least = LEAST_DOUBT): DoubtfulPlace[] {
  const { columns, side } = tally;
  const doubts = tally.doubt;
  const order = [...doubts.keys()].filter((square) => doubts[square]);
  order.sort((one, other) => doubts[other] - doubts[one] || one - other);
  const placeOf = (square: number): DoubtfulPlace => {
    const left = (square % columns) * side,
      top = Math.floor(square / columns) * side;
    const right = Math.min(width, left + side),
      bottom = Math.min(height, top + side);
    return {
      x: Math.floor((left + right) / 2),
      y: Math.floor((top + bottom) / 2),
      box: grown({ left, top, right, bottom }, AROUND * side, { width, height }),
      doubt: doubts[square] / (255 * (right - left) * (bottom - top)),
    };
  };
  const chosen: number[] = [];
  for (const square of order) {
    if (chosen.length === most) break;
    const isApart = chosen.every((other) => distance(square, other, columns) >= APART);
    if (isApart && placeOf(square).doubt >= least) chosen.push(square);
  }
  return chosen.map(placeOf);
}

/** Squares between two squares, along the longer axis. */
function distance(one: number, other: number, columns: number): number {
  const across = Math.abs((one % columns) - (other % columns)),
    down = Math.abs(Math.floor(one / columns) - Math.floor(other / columns));
  return Math.max(across, down);
}
