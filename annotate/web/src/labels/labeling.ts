/** The words of an image's pixels in the end, by the model, the threshold and a person; and where to look first. */

import type { Segmentation } from "../backend";
import { BACKGROUND_COLOR, type Color, NO_COLOR } from "../imaging/palette";
import { type Change, type Edits, wordOf } from "./edits";
import { type PackedLayer, unpacked } from "./layer";
import { type Box, grown, type Point, type Size } from "./runs";

/** The label of a pixel without a word, or without a part. */
export const NONE = 65535;

/** Labels, ids and parts are below it; the last one is that of no word, or no part. */
const PLACES = 65536;

export interface Word {
  /** Never given to another word. */
  readonly id: number;
  /** With its synonyms after ", ". */
  readonly name: string;
  readonly color: Color;
  /** Whether it isn't looked for, or no longer: labels may still have it. */
  readonly removed: boolean;
  /** The id of the word that it was merged into, which its own id means since; it doesn't come back. */
  readonly merged_into?: number | null;
}

/** What a model found in an image; of a large image at the smaller size at which it was labeled. */
export interface Draft extends Omit<Segmentation, "words"> {
  /** The id of each pixel's word; 65535: none. */
  readonly labels: Uint16Array;
  /** Ids of the words that it looked for. */
  readonly words: readonly number[];
}

/** What becomes of pixels whose word is unlikely. */
export interface Rule {
  /** Confidence below which a pixel loses its word, in [0, 1]; 0: none does. */
  readonly threshold: number;
  /** Id of the word that such pixels get; null: they stay without one. */
  readonly background: number | null;
}

export function textOf(rule: Rule): string {
  return JSON.stringify(rule);
}

/** The words of a project, and what becomes of unlikely pixels: what labels come to depends on it. */
export interface Context {
  readonly vocabulary: readonly Word[];
  readonly rule: Rule;
}

export class Labeling {
  readonly width: number;
  readonly height: number;
  /** The id of each pixel's word; 65535: none. */
  readonly labels: Uint16Array;
  /** null: nobody has asked for it yet. */
  private counted: Tally | null = null;
  private readonly known = new Map<number, Word>();
  private readonly vocabulary: ReadonlyMap<number, Word>;
  /** The label of unlikely pixels. */
  private readonly background: number;
  /** Confidence below which the rule holds, in [0, 256]. */
  private readonly least: number;
  /** The draft's column of each column. */
  private readonly columns: Int32Array;

  /** @param settled the labels of an image that is done, which neither rules nor corrections change. */
  constructor(
    readonly found: Draft,
    readonly edits: Edits,
    { rule: { threshold, background }, vocabulary }: Context,
    private readonly settled?: PackedLayer,
  ) {
    const { width, height } = edits;
    this.width = width;
    this.height = height;
    const scale = found.width / width;
    this.columns = Int32Array.from({ length: width }, (_, x) => Math.floor((x + 0.5) * scale));
    this.vocabulary = new Map(vocabulary.map((word) => [word.id, word]));
    this.background = background !== null && threshold > 0 && !settled ? background : NONE;
    this.least = settled ? 0 : threshold * 255;
    this.labels = settled ? unpacked(settled) : new Uint16Array(width * height);
    for (const id of found.words) this.word(id);
    // words that came after the answer can be painted at once
    if (!settled) for (const { id, removed } of vocabulary) if (!removed) this.word(id);
    if (!settled) this.forStretches((start, end, code) => this.label(start, end, code));
    if (this.background !== NONE) this.word(this.background);
  }

  /** The words that can be in the image: those that the model looked for first. */
  get words(): readonly Word[] {
    void this.tally;
    return [...this.known.values()];
  }

  /** What `figures` and `doubtfulPlaces` tell; counting takes as long as labeling, so that it waits until it is asked for. */
  get tally(): Tally {
    if (!this.counted) {
      this.counted = new Tally(this.edits);
      this.forStretches((start, end, code) => this.count(start, end, code, 1));
      // words that are gone stay where they are
      for (const [id, pixels] of this.counted.pixels.entries()) if (pixels && id !== NONE) this.word(id);
    }
    return this.counted;
  }

  /** Visits all stretches of rows, each with what the layer of corrections has for it. */
  private forStretches(visit: (start: number, end: number, code: number) => void): void {
    const { width, edits } = this;
    for (let row = 0; row < edits.layer.length; row += width)
      for (let at = row; at < row + width;) {
        const start = at++,
          code = edits.layer[start];
        while (at < row + width && edits.layer[at] === code) at++;
        visit(start, at, code);
      }
  }

  /** The word with an id, as it is shown. */
  word(id: number): Word {
    const known = this.known.get(id);
    if (known) return known;
    // a damaged project may not list it
    const word = this.vocabulary.get(id) ?? { id, name: `lost word ${id}`, color: BACKGROUND_COLOR, removed: true };
    const shown = id === this.background ? { ...word, color: BACKGROUND_COLOR } : word;
    this.known.set(id, shown);
    return shown;
  }

  take({ runs }: Pick<Change, "runs">): void {
    // in the order in which the pixels changed
    for (let at = 0; at < runs.length; at += 4) {
      const [start, end, before, after] = [runs[at], runs[at] + runs[at + 1], runs[at + 2], runs[at + 3]];
      if (this.counted) this.count(start, end, before, -1);
      this.label(start, end, after);
      if (this.counted) this.count(start, end, after, 1);
    }
  }

  /** Work out the labels of a stretch of pixels in a row for which the layer of corrections has a code. */
  private label(start: number, end: number, code: number): void {
    const { background, columns, found, labels, least, width } = this;
    const word = wordOf(code);
    if (word !== null) this.word(word);
    if (this.settled) return;
    if (code) return void labels.fill(word ?? NONE, start, end);
    const row = start - (start % width),
      draftRow = this.draftRow(start);
    for (let at = start; at < end; at++) {
      const place = draftRow + columns[at - row];
      labels[at] = found.confidence[place] < least ? background : found.labels[place];
    }
  }

  /** Add a stretch of pixels to the tally, or take it away (-1), as they are labeled now. */
  private count(start: number, end: number, code: number, sign: 1 | -1): void {
    const { found, labels, tally, width } = this;
    if (found.parts) for (let at = start; at < end; at++) tally.parts[this.part(at)] += sign;
    if (code) {
      const pixels = sign * (end - start);
      const word = wordOf(code) ?? NONE;
      tally.pixels[word] += pixels;
      tally.confidence[word] += 255 * pixels;
      tally.corrected += pixels;
      return;
    }
    const { columns, confidence, doubt, pixels, side, undecided } = tally;
    const row = Math.floor(start / width),
      draftRow = this.draftRow(start);
    for (let at = start; at < end;) {
      const column = Math.floor((at - row * width) / side);
      const square = Math.floor(row / side) * columns + column;
      const stop = Math.min(end, row * width + (column + 1) * side);
      undecided[square] += sign * (stop - at);
      let sum = 0;
      for (; at < stop; at++) {
        const sure = this.sure(found.confidence[draftRow + this.columns[at - row * width]]);
        pixels[labels[at]] += sign;
        confidence[labels[at]] += sign * sure;
        sum += 255 - sure;
      }
      doubt[square] += sign * sum;
    }
  }

  /** Confidence of a pixel's label, in [0, 255]: certain where a person decided. */
  confidence(pixel: number): number {
    return this.edits.isCorrected(pixel) ? 255 : this.sure(this.found.confidence[this.place(pixel)]);
  }

  /** Where the draft has the row of a pixel. */
  private draftRow(pixel: number): number {
    const { found, height, width } = this;
    return Math.floor(((Math.floor(pixel / width) + 0.5) * found.height) / height) * found.width;
  }

  /** Where a pixel is in the draft. */
  private place(pixel: number): number {
    return this.draftRow(pixel) + this.columns[pixel % this.width];
  }

  /** Confidence of a label that nobody decided, from that of the word that was found. */
  private sure(found: number): number {
    return found < this.least && this.background !== NONE ? 255 - found : found;
  }

  /** Index of a pixel's part, where it still has the word that it was found with; else 65535. */
  part(pixel: number): number {
    const { parts, labels } = this.found;
    const place = this.place(pixel);
    return parts && this.labels[pixel] === labels[place] ? parts.labels[place] : NONE;
  }

  /** Number of a pixel's object; 0: it has none, or another word than its object. */
  object(pixel: number): number {
    const { objectLayer: layer } = this.edits;
    const number = layer ? layer[pixel] : 0;
    return number && this.edits.ownerOf(number) === this.labels[pixel] ? number : 0;
  }
}

export interface Figures {
  readonly id: number;
  readonly name: string;
  readonly color: readonly number[];
  readonly pixels: number;
  /** Share of the image's pixels, in [0, 1]. */
  readonly fraction: number;
  /** Mean confidence of these pixels, in [0, 1]; null for a word without pixels, and for parts. */
  readonly confidence: number | null;
}

export function figures({ words, labels, tally }: Labeling): Figures[] {
  return words.map(({ id, name, color }) => {
    const pixels = tally.pixels[id];
    const confidence = pixels ? tally.confidence[id] / 255 / pixels : null;
    return { id, name, color, pixels, fraction: pixels / labels.length, confidence };
  });
}

export function partFigures({ found: { parts }, labels, tally }: Labeling): Figures[] {
  const count = (id: number) => ({ pixels: tally.parts[id], fraction: tally.parts[id] / labels.length });
  const color = (id: number) => parts?.colors[id] ?? NO_COLOR;
  return (parts?.names ?? []).map(({ name }, id) => ({ id, name, color: color(id), ...count(id), confidence: null }));
}

/** Side of the squares whose doubt is added up, as a share of the image's shorter side. */
const SQUARE = 1 / 16;

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
