/** The words of an image's pixels in the end: what the model found, the threshold, and what a person corrected. */

import type { Segmentation } from "../backend";
import { wordColor, type Color } from "../imaging/palette";
import type { Edits } from "./edits";
import { whole, type Box } from "./runs";
import { firstName, sameClass } from "./synonyms";

/** The label of a pixel without a word, or without a part. */
export const NONE = 65535;

/** What becomes of pixels whose word is unlikely. */
export interface Rule {
  /** Confidence below which a pixel loses its word, in [0, 1]; 0: none does. */
  readonly threshold: number;
  /** The class that such pixels get; null: they stay without one. */
  readonly background: string | null;
}

export class Labeling {
  readonly width: number;
  readonly height: number;
  /** The words that were looked for, and the background if there is one. */
  readonly words: readonly string[];
  /** Index into `words` of each pixel's word; 65535: none. */
  readonly labels: Uint16Array;
  /** RGB of each word. */
  readonly colors: readonly Color[];
  private readonly background: number;
  /** Confidence below which the rule holds, in [0, 256]. */
  private readonly least: number;
  /** Labels by what the layer of corrections has; -1: as the model found it. */
  private corrected = Int32Array.of(-1);
  /** Labels of the words of the objects 1, 2, ... at their numbers; -1: the word isn't looked for. */
  private readonly owners = [-1];

  constructor(
    readonly found: Segmentation,
    readonly edits: Edits,
    { threshold, background }: Rule,
    color: (word: string, index: number) => Color = (_, index) => wordColor(index),
  ) {
    this.width = found.width;
    this.height = found.height;
    const isUsed = background !== null && threshold > 0;
    const known = isUsed ? found.words.findIndex((word) => sameClass(word, background)) : NONE;
    this.words = isUsed && known < 0 ? [...found.words, background] : found.words;
    this.colors = this.words.map(color);
    this.background = known < 0 ? found.words.length : known;
    this.least = threshold * 255;
    this.labels = new Uint16Array(found.labels.length);
    this.refresh(whole(found));
  }

  /** Work out the labels in a rectangle again, after corrections. */
  refresh({ left, top, right, bottom }: Box): void {
    // words may have been added meanwhile
    this.corrected = Int32Array.of(-1, ...this.edits.names.map((name) => this.indexOf(name)));
    const { layer } = this.edits;
    const { corrected, found, labels, least, background, width } = this;
    for (let y = top; y < bottom; y++) {
      for (let at = y * width + left, end = y * width + right; at < end; at++) {
        const edit = corrected[layer[at]];
        labels[at] = edit >= 0 ? edit : found.confidence[at] < least ? background : found.labels[at];
      }
    }
  }

  /** Confidence of a pixel's label, in [0, 255]: certain where a person decided. */
  confidence(pixel: number): number {
    if (this.isCorrected(pixel)) return 255;
    const found = this.found.confidence[pixel];
    return found < this.least && this.background !== NONE ? 255 - found : found;
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
    const { layer } = this.edits.objects;
    const number = layer ? layer[pixel] : 0;
    return number && this.objectLabel(number) === this.labels[pixel] ? number : 0;
  }

  /** Label of the word of an object; -1: the word isn't looked for any more. */
  objectLabel(number: number): number {
    const { owners } = this,
      { words } = this.edits.objects;
    while (owners.length <= number) owners.push(this.indexOf(words[owners.length - 1]));
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

/** What the pixels of a word say about it. */
export interface Figures {
  readonly id: number;
  readonly name: string;
  readonly pixels: number;
  /** Share of the image's pixels, in [0, 1]. */
  readonly fraction: number;
  /** In [0, 1]; null for a word without pixels. */
  readonly meanConfidence: number | null;
}

/** The figures of every word, in the order of the words. */
export function figures(labeling: Labeling): Figures[] {
  const { words, labels } = labeling;
  const pixels = new Float64Array(NONE + 1),
    total = new Float64Array(NONE + 1);
  for (let at = 0; at < labels.length; at++) {
    pixels[labels[at]]++;
    total[labels[at]] += labeling.confidence(at);
  }
  return words.map((name, id) => entry(id, name, pixels[id], total[id] / 255, labels.length));
}

/** The figures of every part, whose confidence isn't known. */
export function partFigures(labeling: Labeling): Figures[] {
  const { parts } = labeling.found;
  if (!parts) return [];
  const pixels = new Float64Array(NONE + 1);
  for (let at = 0; at < parts.labels.length; at++) pixels[labeling.part(at)]++;
  return parts.names.map(({ name }, id) => ({
    ...entry(id, name, pixels[id], 0, parts.labels.length),
    meanConfidence: null,
  }));
}

function entry(id: number, name: string, pixels: number, confidence: number, all: number): Figures {
  return { id, name, pixels, fraction: pixels / all, meanConfidence: pixels ? confidence / pixels : null };
}

/** The words as they are shown: the first of their synonyms. */
export function shownWords(words: readonly string[]): string[] {
  return words.map(firstName);
}
