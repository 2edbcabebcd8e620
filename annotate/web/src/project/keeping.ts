/** From words' names, which the page works with, to their ids, which are kept; and back. */

import type { Segmentation } from "../backend";
import type { SavedEdits } from "../labels/edits";
import { NONE, type Settled } from "../labels/labeling";
import { firstName, sameClass } from "../labels/synonyms";
import type { KeptDraft, KeptEdits, Work } from "./structure";
import { entryOf, namesById, type Vocabulary } from "./words";

/** What is shown for a word that a damaged project doesn't list. */
const LOST = "lost word";

/** Work in names: how the page has it. */
export interface NamedWork {
  readonly found: Segmentation | null;
  readonly saved: SavedEdits | null;
  /** The labels of an image that is done. */
  readonly settled: Settled | null;
}

export function idOf(vocabulary: Vocabulary, word: string): number {
  const entry = entryOf(vocabulary, word);
  if (!entry) throw new Error(`the word “${word}” has no id`);
  return entry.id;
}

export function keptDraft({ words, ...found }: Segmentation, vocabulary: Vocabulary): KeptDraft {
  return { ...found, ids: words.map((word) => idOf(vocabulary, word)) };
}

export function keptEdits({ names, objects, ...edits }: SavedEdits, vocabulary: Vocabulary): KeptEdits {
  return {
    ...edits,
    ids: names.map((name) => (name === null ? null : idOf(vocabulary, name))),
    objects: { layer: objects.layer, ids: objects.words.map((word) => (word ? idOf(vocabulary, word) : null)) },
  };
}

export function keptSettled({ words, labels }: Settled, vocabulary: Vocabulary): Uint16Array {
  return withIds(labels, words.map((word) => idOf(vocabulary, word)));
}

/** Labels with other numbers; 65535 stays. */
export function withIds(labels: Uint16Array, ids: readonly number[]): Uint16Array<ArrayBuffer> {
  const table = new Uint16Array(NONE + 1).fill(NONE);
  table.set(ids);
  return Uint16Array.from(labels, (label) => table[label]);
}

export function namedWork({ draft, edits, settled }: Work, vocabulary: Vocabulary): NamedWork {
  const names = namesById(vocabulary);
  const nameOf = (id: number) => names.get(id) ?? `${LOST} ${id}`;
  const { ids: draftIds = [], ...rest } = draft ?? {};
  const found = draft && ({ ...rest, words: draftIds.map(nameOf) } as Segmentation);
  return {
    found,
    saved: edits && namedEdits(edits, nameOf),
    settled: settled && namedLabels(settled, draftIds, nameOf),
  };
}

function namedEdits({ ids, objects, ...edits }: KeptEdits, nameOf: (id: number) => string): SavedEdits {
  const names = (all: readonly (number | null)[]) => all.map((id) => (id === null ? null : firstName(nameOf(id))));
  const words = names(objects.ids).map((name) => name ?? "");
  return { ...edits, names: names(ids), objects: { layer: objects.layer, words } };
}

function namedLabels(settled: Uint16Array, draftIds: readonly number[], nameOf: (id: number) => string): Settled {
  const ids = [...draftIds];
  const table = new Uint16Array(NONE + 1).fill(NONE);
  for (const [index, id] of ids.entries()) table[id] = index;
  const isKnown = new Uint8Array(NONE + 1);
  for (const id of [...ids, NONE]) isKnown[id] = 1;
  for (const id of settled) {
    if (isKnown[id]) continue;
    isKnown[id] = 1;
    table[id] = ids.push(id) - 1;
  }
  return { words: ids.map(nameOf), labels: settled.map((id) => table[id]) };
}

/** An answer with words that came after it, too, so that they can be painted at once. */
export function withPaintable(found: Segmentation, words: readonly string[]): Segmentation {
  const more = words.filter((word) => !found.words.some((known) => sameClass(known, word)));
  return more.length ? { ...found, words: [...found.words, ...more] } : found;
}
