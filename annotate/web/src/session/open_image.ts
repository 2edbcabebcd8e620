/** The open image with its labels and corrections, and prefetching of the images around it. */

import { batch, computed, type ReadonlySignal, signal, type Signal, untracked } from "@preact/signals";

import type { Segmentation } from "../backend";
import { type Change, type Choice, Edits } from "../labels/edits";
import { figures, type Labeling, NONE, partFigures, type Settled } from "../labels/labeling";
import { joinTouched, objectFigures } from "../labels/objects";
import { type Box, joined, rowsOf, type Runs, split } from "../labels/runs";
import { firstName } from "../labels/synonyms";
import { labelingWith, type NamedWork } from "../project/keeping";
import type { Item } from "./item";
import type { Settings } from "./settings";

export class OpenImage {
  readonly edits: Edits;
  readonly found: Signal<Segmentation | null>;
  readonly settled: Signal<Settled | null>;
  /** Every pixel's word in the end; a new object when another answer or rule holds. */
  readonly labeling: ReadonlySignal<Labeling | null>;
  /** Incremented on each change, for redrawing. */
  readonly painted = signal(0);
  /** Incremented after each action, for recounting pixels. */
  readonly finished = signal(0);
  /** Incremented when changes of others were applied, for computing everything again. */
  private readonly adopted = signal(0);
  private changed: Box | null = null;

  constructor(
    readonly item: Item,
    readonly bitmap: ImageBitmap,
    { found, saved, settled }: NamedWork,
    { rule, vocabulary }: Pick<Settings, "rule" | "vocabulary">,
  ) {
    this.edits = new Edits(item.width, item.height, saved);
    this.found = signal(found);
    this.settled = signal(settled);
    this.labeling = computed(() => {
      const { value } = this.found;
      void this.adopted.value;
      return (
        value && labelingWith(value, this.edits, this.settled.value, { rule: rule.value, vocabulary: vocabulary.value })
      );
    });
  }

  readonly figures = this.counted(figures);
  readonly partFigures = this.counted(partFigures);
  readonly objects = this.counted(objectFigures);

  private counted<Count>(count: (labeling: Labeling) => Count[]): ReadonlySignal<Count[]> {
    return computed(() => {
      void this.finished.value;
      return this.labeling.value ? count(this.labeling.value) : [];
    });
  }

  /** The rectangle in which labels changed since the last call. */
  takeChanged(): Box | null {
    const { changed } = this;
    this.changed = null;
    return changed;
  }

  paint(runs: Runs, choice: Choice): void {
    this.correct((edits) => edits.paint(runs, choice));
  }

  finish(): void {
    const labeling = untracked(() => this.labeling.value);
    const counted = new Set(untracked(() => this.objects.value).map(({ label }) => label));
    if (labeling) this.show(joinTouched(labeling, counted));
    if (this.edits.finish()) this.finished.value++;
  }

  /** Changes objects as one action; returns the change's result, or null if nothing changed. */
  change<Result extends { readonly box: Box } | Box>(how: (labeling: Labeling) => Result | null): Result | null {
    const labeling = untracked(() => this.labeling.value);
    const result = labeling && how(labeling);
    if (!result) {
      this.edits.cancel();
      return null;
    }
    this.show("box" in result ? result.box : result);
    if (this.edits.finish()) this.finished.value++;
    return result;
  }

  /** Reverts what was painted since the last action ended. */
  cancel(): void {
    this.correct((edits) => edits.cancel());
  }

  /** Takes an action back or does it again, or reverts all corrections as one action. */
  step(way: "undo" | "redo" | "clear"): void {
    if (this.correct((edits) => edits[way]())) this.finished.value++;
  }

  /** Applies changes of others; actions on this page can still be undone. */
  adopt({ found, saved, settled }: NamedWork): void {
    batch(() => {
      this.edits.adopt(saved);
      this.found.value = found;
      this.settled.value = settled;
      this.adopted.value++;
      this.finished.value++;
    });
  }

  rename(word: string, name: string): void {
    const changed = (words: readonly string[]) => words.map((one) => (one === word ? name : one));
    const { value: found } = this.found,
      { value: settled } = this.settled;
    this.edits.rename(firstName(word), firstName(name));
    if (found) this.found.value = { ...found, words: changed(found.words) };
    if (settled) this.settled.value = { ...settled, words: changed(settled.words) };
  }

  get prepared(): Prepared {
    const work = { found: this.found.value, saved: this.edits.saved, settled: this.settled.value };
    return { bitmap: this.bitmap, work, revision: this.item.summary.value.revision };
  }

  close(): void {
    this.bitmap.close();
  }

  private correct(act: (edits: Edits) => Change | null): boolean {
    // before it, since labels that are worked out anew know all corrections
    const labeling = untracked(() => this.labeling.value);
    const change = act(this.edits);
    if (!change) return false;
    labeling?.take(change);
    this.show(change.box);
    return true;
  }

  private show(box: Box | null): void {
    if (!box) return;
    this.changed = joined(this.changed, box);
    this.painted.value++;
  }
}

/** Turns settled labels into corrections: all, or those that differ from the model's if these are up to date. */
export function paintSettled(image: OpenImage, { words, labels }: Settled, isCurrent: boolean): void {
  const now = image.labeling.value!;
  const index = words.map((word) => now.words.indexOf(word));
  const isSame = (pixel: number) =>
    isCurrent && now.labels[pixel] === (labels[pixel] === NONE ? NONE : index[labels[pixel]]);
  for (const [label, runs] of split(rowsOf(image.item), (pixel) => (isSame(pixel) ? null : labels[pixel])))
    if (label !== null) image.paint(runs, label === NONE ? null : firstName(words[label]));
  image.finish();
}

/** Max size of prefetched images [px]. */
const LARGEST = 40e6;

export interface Prepared {
  readonly bitmap: ImageBitmap;
  readonly work: NamedWork;
  readonly revision: number;
}

export class Nearby {
  private readonly kept = new Map<Item, Promise<Prepared>>();

  constructor(private readonly read: (item: Item) => Promise<Prepared>) {}

  /** Decodes an image, or hands over the prefetched one. */
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

  /** Caches a closed image if it is one of the next. */
  put(item: Item, prepared: Prepared): void {
    this.drop(item);
    this.kept.set(item, Promise.resolve(prepared));
  }

  /** Prefetches some images one by one, and drops all others. */
  async prepare(items: readonly Item[]): Promise<void> {
    const wanted = items.filter(({ width, height }) => width * height <= LARGEST);
    for (const item of [...this.kept.keys()]) if (!wanted.includes(item)) this.drop(item);
    for (const item of wanted) {
      if (this.kept.has(item)) continue;
      const reading = this.read(item);
      this.kept.set(item, reading);
      // reported when it is opened
      await reading.catch(() => this.kept.delete(item));
    }
  }

  drop(item: Item): void {
    const reading = this.kept.get(item);
    this.kept.delete(item);
    reading?.then(({ bitmap }) => bitmap.close()).catch(() => {});
  }

  clear(): void {
    for (const item of [...this.kept.keys()]) this.drop(item);
  }
}
