/** Which object each pixel belongs to, as it is stored; `Labeling.object` says what holds in the end. */

/** Most objects that an image can have in its history. */
export const MOST_OBJECTS = 65535;

/** Objects as they are stored. */
export interface SavedObjects {
  /** Number of each pixel's object, 0 for none; null: there was never an object. */
  readonly layer: Uint16Array | null;
  /** The words of the objects 1, 2, ... */
  readonly words: readonly string[];
}

export class ObjectLayer {
  /** Number of each pixel's object, 0 for none; null: there was never one, so that images without any pay nothing. */
  layer: Uint16Array | null;
  /** The words of the objects 1, 2, ... by name, since the list of words may change; numbers aren't used again. */
  readonly words: string[];

  constructor(
    private readonly pixels: number,
    saved: SavedObjects | null = null,
  ) {
    this.layer = saved?.layer ?? null;
    this.words = [...(saved?.words ?? [])];
  }

  /** The number of a new object of a word; null: there are none left. */
  create(word: string): number | null {
    return this.words.length < MOST_OBJECTS ? this.words.push(word) : null;
  }

  /** Take over the objects of others. */
  adopt(saved: SavedObjects | null): void {
    this.layer = saved?.layer?.slice() ?? null;
    this.words.splice(0, this.words.length, ...(saved?.words ?? []));
  }

  /** Know a word by another name from now on. */
  rename(word: string, other: string): void {
    for (const [at, name] of this.words.entries()) if (name === word) this.words[at] = other;
  }

  /** Fill a stretch, and write down what changed: start, length, before and after. */
  fill(start: number, end: number, after: number, runs: number[]): void {
    if (!this.layer && !after) return;
    const layer = (this.layer ??= new Uint16Array(this.pixels));
    for (let at = start; at < end;) {
      const before = layer[at],
        first = at;
      while (at < end && layer[at] === before) at++;
      if (before !== after) runs.push(first, at - first, before, after);
    }
    layer.fill(after, start, end);
  }

  /** Take changes back, the last one first. */
  undo(runs: Int32Array): void {
    for (let at = runs.length - 4; at >= 0; at -= 4) this.layer!.fill(runs[at + 2], runs[at], runs[at] + runs[at + 1]);
  }

  redo(runs: Int32Array): void {
    for (let at = 0; at < runs.length; at += 4) this.layer!.fill(runs[at + 3], runs[at], runs[at] + runs[at + 1]);
  }

  get saved(): SavedObjects {
    return { layer: this.layer, words: this.words };
  }
}
