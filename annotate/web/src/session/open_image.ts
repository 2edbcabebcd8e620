/** The open image with its labels and corrections, and prefetching of the images around it. */

import { batch, computed, type ReadonlySignal, signal, type Signal, untracked } from "@preact/signals";

import type { Picture } from "../imaging/picture";
import { type Change, type Choice, Edits, type Strength, wordOf } from "../labels/edits";
import { type Draft, figures, Labeling, NONE, partFigures } from "../labels/labeling";
import { unpacked } from "../labels/layer";
import { joinTouched, objectFigures } from "../labels/objects";
import { type Box, joined, rowsOf, type Runs, split } from "../labels/runs";
import { renumbered } from "../project/keeping";
import type { Settled, Work } from "../project/structure";
import type { Item } from "./item";
import { contextOf, type Settings } from "./settings";

export class OpenImage {
  readonly edits: Edits;
  readonly draft: Signal<Draft | null>;
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
    readonly picture: Picture,
    { draft, edits, settled }: Work,
    settings: Pick<Settings, "rule" | "vocabulary">,
  ) {
    this.edits = new Edits(item.width, item.height, edits);
    this.draft = signal(draft);
    this.settled = signal(settled);
    this.labeling = computed(() => {
      const { value } = this.draft;
      void this.adopted.value;
      return value && new Labeling(value, this.edits, contextOf(settings), this.settled.value?.labels);
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

  paint(runs: Runs, choice: Choice, strength: Strength = "firm"): void {
    this.correct((edits) => edits.paint(runs, choice, strength));
  }

  /** Gives all pixels of either word the other one; how firm each is stays. */
  swap(one: number, other: number): void {
    const { edits } = this,
      labels = untracked(() => this.labeling.value)!.labels;
    const found = split(rowsOf(this.item), (pixel) => (labels[pixel] === one || labels[pixel] === other ? 2 * labels[pixel] + Number(edits.isFirm(pixel)) : -1));
    for (const [key, runs] of found)
      if (key >= 0) this.paint(runs, key >> 1 === one ? other : one, key % 2 ? "firm" : "loose");
  }

  finish(): void {
    const labeling = untracked(() => this.labeling.value);
    const counted = new Set(untracked(() => this.objects.value).map(({ label }) => label));
    if (labeling) joinTouched(labeling, counted);
    this.end();
  }

  /** Changes objects as one action; false: nothing changed. */
  change(how: (labeling: Labeling) => void): boolean {
    const labeling = untracked(() => this.labeling.value);
    if (labeling) how(labeling);
    return this.end();
  }

  private end(): boolean {
    const change = this.edits.finish();
    if (!change) return false;
    this.show(change.box);
    this.finished.value++;
    return true;
  }

  /** Reverts what was painted since the last action ended. */
  cancel(): void {
    this.correct((edits) => edits.cancel());
  }

  /**
   * Takes an action back or does it again, or reverts all corrections as one action. Returns how many pixels stay as
   * they are, since somebody changed them after that action.
   */
  step(way: "undo" | "redo" | "clear"): number {
    const change = this.correct((edits) => edits[way]());
    if (change) this.finished.value++;
    return change?.left ?? 0;
  }

  /** Applies changes of others; actions on this page can still be undone. */
  adopt({ draft, edits, settled }: Work): void {
    batch(() => {
      this.edits.adopt(edits);
      this.draft.value = draft;
      this.settled.value = settled;
      this.adopted.value++;
      this.finished.value++;
    });
  }

  /** Gives words other ids, also in what can be undone. */
  renumber(ids: ReadonlyMap<number, number>): void {
    this.edits.renumber(ids);
    this.adopt({ ...renumbered({ draft: this.draft.value, settled: this.settled.value }, ids), edits: this.edits.saved });
  }

  get work(): Work {
    return { draft: this.draft.value, edits: this.edits.saved, settled: this.settled.value };
  }

  get prepared(): Prepared {
    return { picture: this.picture, work: this.work, revision: this.item.summary.value.revision };
  }

  close(): void {
    this.picture.close();
  }

  private correct(act: (edits: Edits) => Change | null): Change | null {
    // before it, since labels that are worked out anew know all corrections
    const labeling = untracked(() => this.labeling.value);
    const change = act(this.edits);
    if (!change) return null;
    labeling?.take(change);
    this.show(change.box);
    return change;
  }

  private show(box: Box): void {
    this.changed = joined(this.changed, box);
    this.painted.value++;
  }
}

/**
 * Turns settled labels into corrections, which give way to clicks where nobody drew them: all, or those that differ from
 * the model's if these are up to date.
 */
export function paintSettled(image: OpenImage, settled: Settled, isCurrent: boolean): void {
  const { edits } = image,
    { labels } = image.labeling.value!,
    kept = unpacked(settled.labels);
  const isSame = (pixel: number) =>
    edits.isCorrected(pixel) ? (wordOf(edits.layer[pixel]) ?? NONE) === kept[pixel] : isCurrent && labels[pixel] === kept[pixel];
  for (const [id, runs] of split(rowsOf(image.item), (pixel) => (isSame(pixel) ? undefined : kept[pixel])))
    if (id !== undefined) image.paint(runs, id === NONE ? null : id, "loose");
  image.finish();
}

/** Max size of prefetched images [px]. */
const LARGEST = 40e6;

export interface Prepared {
  readonly picture: Picture;
  readonly work: Work;
  readonly revision: number;
}

export class Nearby {
  private readonly kept = new Map<Item, Promise<Prepared>>();

  constructor(private readonly read: (item: Item) => Promise<Prepared>) {}

  /**
   * Shows an image, prefetched or decoded now, as it is at that moment: a change that comes earlier has it read again.
   *
   * @param untilIdle awaited between reading and showing it.
   */
  async take(item: Item, untilIdle: () => Promise<void>, show: (prepared: Prepared) => void): Promise<void> {
    for (;;) {
      const reading = this.kept.get(item) ?? this.read(item);
      // until it is shown, a change drops it
      this.kept.set(item, reading);
      const prepared = await reading.catch((failure: unknown) => {
        if (this.kept.get(item) === reading) this.kept.delete(item);
        throw failure;
      });
      await untilIdle();
      if (this.kept.get(item) !== reading) continue;
      this.kept.delete(item);
      if (prepared.revision === item.summary.value.revision) return show(prepared);
      prepared.picture.close();
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
    reading?.then(({ picture }) => picture.close()).catch(() => {});
  }

  clear(): void {
    for (const item of [...this.kept.keys()]) this.drop(item);
  }
}
