/** The image that is looked at, with its labels and corrections. */

import { computed, signal, untracked, type ReadonlySignal, type Signal } from "@preact/signals";

import type { Segmentation } from "../backend";
import { Edits, type Change, type Choice, type SavedEdits } from "../labels/edits";
import { figures, Labeling, partFigures } from "../labels/labeling";
import { joined, type Box, type Runs } from "../labels/runs";
import type { Item } from "./item";
import type { Settings } from "./settings";
import { colorOf } from "./word_colors";

export class OpenImage {
  readonly edits: Edits;
  /** What the back end answered; null: nothing yet. */
  readonly found: Signal<Segmentation | null>;
  /** Every pixel's word in the end; a new object when another answer or rule holds. */
  readonly labeling: ReadonlySignal<Labeling | null>;
  /** Counts what is painted, for those who draw it. */
  readonly painted = signal(0);
  /** Counts finished actions, for those who count pixels. */
  readonly finished = signal(0);
  private changed: Box | null = null;

  constructor(
    readonly item: Item,
    readonly bitmap: ImageBitmap,
    found: Segmentation | null,
    saved: SavedEdits | null,
    { rule, colors }: Pick<Settings, "rule" | "colors">,
  ) {
    this.edits = new Edits(item.width, item.height, saved);
    this.found = signal<Segmentation | null>(found);
    this.labeling = computed(() => {
      const { value } = this.found;
      return value && new Labeling(value, this.edits, rule.value, (word) => colorOf(colors.value, word));
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

  /** The rectangle in which labels changed since the last call. */
  takeChanged(): Box | null {
    const { changed } = this;
    this.changed = null;
    return changed;
  }

  paint(runs: Runs, choice: Choice): void {
    this.change((edits) => edits.paint(runs, choice));
  }

  /** End an action. */
  finish(): void {
    if (this.edits.finish()) this.finished.value++;
  }

  /** Take back what was painted since the last action ended. */
  cancel(): void {
    this.change((edits) => edits.cancel());
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

  close(): void {
    this.bitmap.close();
  }

  private step(act: (edits: Edits) => Change | null): void {
    if (this.change(act)) this.finished.value++;
  }

  /** Change corrections; false: nothing changed. */
  private change(act: (edits: Edits) => Change | null): boolean {
    // before it, since labels that are worked out anew know all corrections
    const labeling = untracked(() => this.labeling.value);
    const change = act(this.edits);
    if (!change) return false;
    labeling?.take(change);
    this.changed = joined(this.changed, change.box);
    this.painted.value++;
    return true;
  }
}
