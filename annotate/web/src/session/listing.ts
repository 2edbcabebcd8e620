/** The images that are listed: those that a person looks for, in the order that they asked for. */

import { computed, signal, untracked, type ReadonlySignal } from "@preact/signals";

import { EVERYTHING, isWanted, ordered, type Wanted } from "../review/finding";
import type { Item } from "./item";

export class Listing {
  readonly wanted = signal<Wanted>(EVERYTHING);
  /** Numbers of all answers that images ever had. */
  private readonly answers = new Map<string | null, number>();

  constructor(
    private readonly items: ReadonlySignal<readonly Item[]>,
    private readonly chosen: ReadonlySignal<Item | null>,
  ) {}

  /** Whether some images may be left out, or stand elsewhere. */
  readonly isNarrowed = computed(() => this.wanted.value !== EVERYTHING);

  /** Changes whenever the model labels an image, and not when a person corrects one. */
  private readonly labeled = computed(() =>
    this.items.value.map(({ summary }) => this.numberOf(summary.value.answers)).join(),
  );

  /** All images in their order, which stays while a person works: corrected images don't move. */
  private readonly inOrder = computed(() => {
    const { order } = this.wanted.value;
    if (order === "least certain") void this.labeled.value;
    const items = this.items.value;
    return untracked(() => ordered(items, order, ({ summary }) => summary.value));
  });

  /** The images that are listed. The chosen one is, even when it isn't looked for any more. */
  readonly listed = computed(() => {
    const wanted = this.wanted.value,
      chosen = this.chosen.value;
    if (!this.isNarrowed.value) return this.inOrder.value;
    return this.inOrder.value.filter((item) => item === chosen || isWanted(item.summary.value, wanted));
  });

  look(change: Partial<Wanted>): void {
    this.wanted.value = { ...this.wanted.value, ...change };
  }

  lookForAll(): void {
    this.wanted.value = EVERYTHING;
  }

  private numberOf(answers: string | null): number {
    const { size } = this.answers;
    const known = this.answers.get(answers);
    if (known === undefined) this.answers.set(answers, size);
    return known ?? size;
  }
}
