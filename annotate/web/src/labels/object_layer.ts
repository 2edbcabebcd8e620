/** Which object each pixel belongs to, as it is stored; `Labeling.object` says what holds in the end. */

import { Layer } from "./layer";
import type { PackedLayer } from "./packed";

/** Most objects that an image can have in its history. */
export const MOST_OBJECTS = 65535;

/** Objects as they are stored. */
export interface SavedObjects {
  /** Number of each pixel's object, 0 for none; null: there was never an object. */
  readonly layer: PackedLayer | null;
  /** The words of the objects 1, 2, ... */
  readonly words: readonly string[];
}

export class ObjectLayer {
  /** null: there was never an object, so that images without any pay nothing. */
  private numbers: Layer | null;
  /** The words of the objects 1, 2, ... by name, since the list of words may change; numbers aren't used again. */
  readonly words: string[];

  constructor(
    private readonly pixels: number,
    saved: SavedObjects | null = null,
  ) {
    this.numbers = saved?.layer ? new Layer(saved.layer) : null;
    this.words = [...(saved?.words ?? [])];
  }

  /** Number of each pixel's object, 0 for none; null: there was never one. */
  get layer(): Uint16Array | null {
    return this.numbers?.values ?? null;
  }

  /** The number of a new object of a word; null: there are none left. */
  create(word: string): number | null {
    return this.words.length < MOST_OBJECTS ? this.words.push(word) : null;
  }

  /** Take over the objects of others. */
  adopt(saved: SavedObjects | null): void {
    this.numbers = saved?.layer ? new Layer(saved.layer) : null;
    this.words.splice(0, this.words.length, ...(saved?.words ?? []));
  }

  /** Know a word by another name from now on. */
  rename(word: string, other: string): void {
    for (const [at, name] of this.words.entries()) if (name === word) this.words[at] = other;
  }

  /** Fill a stretch, and write down what changed. */
  fill(start: number, end: number, after: number, changes: number[]): void {
    if (!this.numbers && !after) return;
    (this.numbers ??= Layer.empty(this.pixels)).fill(start, end, after, changes);
  }

  undo(changes: Int32Array): void {
    this.numbers?.undo(changes);
  }

  redo(changes: Int32Array): void {
    this.numbers?.redo(changes);
  }

  get saved(): SavedObjects {
    return { layer: this.numbers?.packed ?? null, words: this.words };
  }
}
