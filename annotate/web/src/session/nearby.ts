/** Images that are likely to be opened next, read ahead, so that moving through a project doesn't wait. */

import type { NamedWork } from "../project/keeping";
import type { Item } from "./item";

/** Largest image that is read ahead [px]. */
const LARGEST = 40e6;

/** What an image is opened from. */
export interface Prepared {
  readonly bitmap: ImageBitmap;
  readonly work: NamedWork;
  /** The revision of the image that was read. */
  readonly revision: number;
}

export class Nearby {
  private readonly kept = new Map<Item, Promise<Prepared>>();

  constructor(private readonly read: (item: Item) => Promise<Prepared>) {}

  /** What an image is opened from, which is the caller's from now on. */
  async take(item: Item): Promise<Prepared> {
    for (;;) {
      const reading = this.kept.get(item) ?? this.read(item);
      this.kept.delete(item);
      const prepared = await reading;
      if (prepared.revision === item.summary.value.revision) return prepared;
      // it was changed meanwhile
      prepared.bitmap.close();
    }
  }

  /** Keep an image that was left, if it is among those that may come next. */
  put(item: Item, prepared: Prepared): void {
    this.drop(item);
    this.kept.set(item, Promise.resolve(prepared));
  }

  /** Read some images ahead, one after the other, and forget all others. */
  async prepare(items: readonly Item[]): Promise<void> {
    const wanted = items.filter(({ width, height }) => width * height <= LARGEST);
    for (const item of [...this.kept.keys()]) if (!wanted.includes(item)) this.drop(item);
    for (const item of wanted) {
      if (this.kept.has(item)) continue;
      const reading = this.read(item);
      this.kept.set(item, reading);
      // whoever opens it is told
      await reading.catch(() => this.kept.delete(item));
    }
  }

  /** Forget what was read of an image, as it changes. */
  drop(item: Item): void {
    const reading = this.kept.get(item);
    this.kept.delete(item);
    reading?.then(({ bitmap }) => bitmap.close()).catch(() => {});
  }

  clear(): void {
    for (const item of [...this.kept.keys()]) this.drop(item);
  }
}
