/** The image that is looked at, with its labels and corrections, and those that may be opened next, read ahead. */

import { batch, computed, type ReadonlySignal, signal, type Signal, untracked } from "@preact/signals";

import type { Segmentation } from "../backend";
import { type Change, type Choice, Edits } from "../labels/edits";
import { figures, type Labeling, NONE, partFigures, type Settled } from "../labels/labeling";
import { joinTouched, objectFigures } from "../labels/objects";
import { type Box, joined, type Runs } from "../labels/runs";
import { firstName } from "../labels/synonyms";
import { labelingWith, type NamedWork } from "../project/keeping";
import type { Item } from "./item";
import type { Settings } from "./settings";

export class OpenImage {
  readonly edits: Edits;
  /** What the back end answered; null: nothing yet. */
  readonly found: Signal<Segmentation | null>;
  /** The labels of an image that is done. */
  readonly settled: Signal<Settled | null>;
  /** Every pixel's word in the end; a new object when another answer or rule holds. */
  readonly labeling: ReadonlySignal<Labeling | null>;
  /** Counts what is painted, for those who draw it. */
  readonly painted = signal(0);
  /** Counts finished actions, for those who count pixels. */
  readonly finished = signal(0);
  /** Counts changes of others that were taken over, after which all is worked out anew. */
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

  /** The words' and parts' figures. */
  readonly figures = computed(() => {
    void this.finished.value;
    return this.labeling.value ? figures(this.labeling.value) : [];
  });
  readonly partFigures = computed(() => {
    void this.finished.value;
    return this.labeling.value ? partFigures(this.labeling.value) : [];
  });

  /** The objects of words, in the order of their numbers. */
  readonly objects = computed(() => {
    void this.finished.value;
    return this.labeling.value ? objectFigures(this.labeling.value) : [];
  });

  /** The rectangle in which labels changed since the last call. */
  takeChanged(): Box | null {
    const { changed } = this;
    this.changed = null;
    return changed;
  }

  paint(runs: Runs, choice: Choice): void {
    this.correct((edits) => edits.paint(runs, choice));
  }

  /** End an action. */
  finish(): void {
    const labeling = untracked(() => this.labeling.value);
    const counted = new Set(untracked(() => this.objects.value).map(({ label }) => label));
    if (labeling) this.show(joinTouched(labeling, counted));
    if (this.edits.finish()) this.finished.value++;
  }

  /** Change objects, as one action; returns what the change tells, null: nothing changed. */
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

  /** Take back what was painted since the last action ended. */
  cancel(): void {
    this.correct((edits) => edits.cancel());
  }

  undo(): void {
    this.step((edits) => edits.undo());
  }

  redo(): void {
    this.step((edits) => edits.redo());
  }

  /** Take back all corrections, as one action. */
  clear(): void {
    this.step((edits) => edits.clear());
  }

  /** Take over what others made of the image; what was done here can still be undone. */
  adopt({ found, saved, settled }: NamedWork): void {
    batch(() => {
      this.edits.adopt(saved);
      this.found.value = found;
      this.settled.value = settled;
      this.adopted.value++;
      this.finished.value++;
    });
  }

  /** Know a word by another name from now on. */
  rename(word: string, name: string): void {
    const changed = (words: readonly string[]) => words.map((one) => (one === word ? name : one));
    const { value: found } = this.found,
      { value: settled } = this.settled;
    this.edits.rename(firstName(word), firstName(name));
    if (found) this.found.value = { ...found, words: changed(found.words) };
    if (settled) this.settled.value = { ...settled, words: changed(settled.words) };
  }

  /** What it is opened from again. */
  get prepared(): Prepared {
    const work = { found: this.found.value, saved: this.edits.saved, settled: this.settled.value };
    return { bitmap: this.bitmap, work, revision: this.item.summary.value.revision };
  }

  close(): void {
    this.bitmap.close();
  }

  private step(act: (edits: Edits) => Change | null): void {
    if (this.correct(act)) this.finished.value++;
  }

  /** Change corrections; false: nothing changed. */
  private correct(act: (edits: Edits) => Change | null): boolean {
    // before it, since labels that are worked out anew know all corrections
    const labeling = untracked(() => this.labeling.value);
    const change = act(this.edits);
    if (!change) return false;
    labeling?.take(change);
    this.show(change.box);
    return true;
  }

  /** Something changed in a rectangle. */
  private show(box: Box | null): void {
    if (!box) return;
    this.changed = joined(this.changed, box);
    this.painted.value++;
  }
}

/**
 * Make corrections of those labels that would be others now, so that nobody's work is lost.
 *
 * @param isCurrent whether the model has nothing new to say; if it has, every pixel keeps its label.
 */
export function paintSettled(image: OpenImage, { words, labels }: Settled, isCurrent: boolean): void {
  const now = image.labeling.value!;
  const index = words.map((word) => now.words.indexOf(word));
  const stretches = new Map<number, number[]>();
  for (let at = 0; at < labels.length;) {
    const label = labels[at],
      first = at;
    const row = at - (at % image.item.width) + image.item.width;
    const isSame = (pixel: number) => isCurrent && now.labels[pixel] === (label === NONE ? NONE : index[label]);
    const isKept = isSame(at);
    while (at < row && labels[at] === label && isSame(at) === isKept) at++;
    if (isKept) continue;
    const runs = stretches.get(label) ?? [];
    stretches.set(label, runs);
    runs.push(first, at - first);
  }
  for (const [label, runs] of stretches)
    image.paint(Int32Array.from(runs), label === NONE ? null : firstName(words[label]));
  image.finish();
}

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
