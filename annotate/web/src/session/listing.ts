/** Filtering and sorting of the images, and statistics of states and words. */

import { computed, type ReadonlySignal, signal, untracked } from "@preact/signals";

import type { Word } from "../labels/labeling";
import type { ImageState } from "../project/structure";
import type { Item } from "./item";

export class Listing {
  readonly wanted = signal<Wanted>(EVERYTHING);

  constructor(
    private readonly items: ReadonlySignal<readonly Item[]>,
    private readonly chosen: ReadonlySignal<Item | null>,
  ) {}

  /** Whether some images may be left out, or stand elsewhere. */
  readonly isNarrowed = computed(() => this.wanted.value !== EVERYTHING);

  /** Changes whenever the model labels an image, and not when a person corrects one. */
  private readonly labeled = computed(() => this.items.value.map(({ summary }) => summary.value.answers).join("\n"));

  /** All images, sorted; corrections don't move an image. */
  private readonly inOrder = computed(() => {
    const { order } = this.wanted.value;
    if (order === "least certain") void this.labeled.value;
    const items = this.items.value;
    return untracked(() => ordered(items, order, ({ summary }) => summary.value));
  });

  readonly listed = computed(() => {
    const wanted = this.wanted.value,
      chosen = this.chosen.value;
    if (!this.isNarrowed.value) return this.inOrder.value;
    return this.inOrder.value.filter((item) => item === chosen || isWanted(item.summary.value, wanted));
  });

  /** The listed images but an open one that isn't wanted. */
  get matching(): readonly Item[] {
    return this.listed.value.filter(({ summary }) => isWanted(summary.value, this.wanted.value));
  }

  look(change: Partial<Wanted>): void {
    this.wanted.value = { ...this.wanted.value, ...change };
  }
}

export interface Wanted {
  /** A part of the file's name, in any case; empty: any. */
  readonly text: string;
  readonly progress: Progress | "open" | "any";
  /** Id of a word that the image shows; null: any. */
  readonly word: number | null;
  /** Who labels the image; empty: nobody; null: anybody. */
  readonly person: string | null;
  readonly order: Order;
}

export type Order = "added" | "name" | "least certain";

/** The states of images; accepted ones are done, those that were sent back aren't any more. */
export type Progress = "not labeled" | "labeled" | "corrected" | "sent back" | "done" | "accepted";

export const EVERYTHING: Wanted = { text: "", progress: "any", word: null, person: null, order: "added" };

export function progressOf({ done, review, corrected, source, answers }: ImageState): Progress {
  if (done) return review ? "accepted" : "done";
  if (review) return "sent back";
  if (corrected > 0) return "corrected";
  return source !== null || answers !== null ? "labeled" : "not labeled";
}

export function isWanted(state: ImageState, { text, progress, word, person }: Wanted): boolean {
  return (
    state.image.toLowerCase().includes(text.trim().toLowerCase()) &&
    (progress === "any" || (progress === "open" ? !state.done : progressOf(state) === progress)) &&
    (word === null || (state.pixels[word] ?? 0) > 0) &&
    (person === null || person === (state.person ?? ""))
  );
}

/** Sorts images stably; by certainty, those with most doubt come first, those without labels next, done ones last. */
export function ordered<Image>(images: readonly Image[], order: Order, stateOf: (image: Image) => ImageState): Image[] {
  const result = [...images];
  if (order === "name") {
    // 9.jpg before 10.jpg
    const { compare } = new Intl.Collator("en", { numeric: true });
    result.sort((one, other) => compare(stateOf(one).image, stateOf(other).image));
  }
  if (order === "least certain") {
    const doubt = (image: Image) => {
      const { done, uncertainty } = stateOf(image);
      return done ? -2 : (uncertainty ?? -1);
    };
    result.sort((one, other) => doubt(other) - doubt(one));
  }
  return result;
}

/**
 * Images by state; the share of the labeled images' pixels that a person decided, as which those of done images count;
 * and for each word the images that show it, those of them that are done, its share of the pixels, and its objects.
 *
 * @param words those to count; of removed words, those that labels still have.
 */
export function statistics(states: readonly ImageState[], words: readonly Word[]) {
  const progress: Record<Progress, number> = { "not labeled": 0, labeled: 0, corrected: 0, "sent back": 0, done: 0, accepted: 0 };
  const counts = new Map(words.map(({ id }) => [id, { images: 0, done: 0, pixels: 0, objects: 0 }]));
  let all = 0,
    decided = 0;
  for (const state of states) {
    const reached = progressOf(state);
    progress[reached]++;
    if (reached === "not labeled") continue;
    all += state.width * state.height;
    decided += state.done ? state.width * state.height : state.corrected;
    for (const [id, pixels] of Object.entries(state.pixels)) {
      const count = counts.get(Number(id));
      if (!count || !pixels) continue;
      count.images++;
      count.done += Number(state.done);
      count.pixels += pixels;
      count.objects += state.objects?.[id] ?? 0;
    }
  }
  const share = (pixels: number) => (all ? pixels / all : 0);
  const figures = words.map((word) => {
    const { pixels, ...rest } = counts.get(word.id)!;
    return { word, ...rest, fraction: share(pixels) };
  });
  return {
    images: states.length,
    progress,
    decided: share(decided),
    words: figures.filter(({ word, images }) => !word.removed || images > 0),
  };
}
