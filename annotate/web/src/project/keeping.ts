/** What is kept of an image: by words' ids instead of the names that the page works with, its labels from it, and their summary. */

import type { Segmentation } from "../backend";
import { Edits, type SavedEdits } from "../labels/edits";
import { doubtfulPlaces, Labeling, NONE, type Rule, type Settled } from "../labels/labeling";
import { objectFigures } from "../labels/objects";
import type { Size } from "../labels/runs";
import { firstName, sameClass } from "../labels/synonyms";
import type { ImageState, KeptDraft, KeptEdits, Work } from "./structure";
import { entryFor, entryOf, lookedFor, namesById, type Vocabulary } from "./words";

/** What is shown for a word that a damaged project doesn't list. */
const LOST = "lost word";

/** Work in names: how the page has it. */
export interface NamedWork {
  readonly found: Segmentation | null;
  readonly saved: SavedEdits | null;
  readonly settled: Settled | null;
}

function idOf(vocabulary: Vocabulary, word: string): number {
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

interface Indexed {
  readonly ids: readonly number[];
  /** Index into `ids` of each pixel's id; 65535: none. */
  readonly labels: Uint16Array<ArrayBuffer>;
}

/** A map of ids by their places among some, which those of the map that are others follow. */
export function indexed(map: Uint16Array, first: readonly number[] = []): Indexed {
  const ids = [...new Set(first)];
  const places = new Int32Array(NONE + 1).fill(-1);
  places[NONE] = NONE;
  for (const [place, id] of ids.entries()) places[id] = place;
  const placeOf = (id: number) => (places[id] < 0 ? (places[id] = ids.push(id) - 1) : places[id]);
  return { labels: Uint16Array.from(map, placeOf), ids };
}

export function namedWork({ draft, edits, settled }: Work, vocabulary: Vocabulary): NamedWork {
  const names = namesById(vocabulary);
  const nameOf = (id: number) => names.get(id) ?? `${LOST} ${id}`;
  const named = ({ ids, labels }: Indexed): Settled => ({ words: ids.map(nameOf), labels });
  const { ids: draftIds = [], ...rest } = draft ?? {};
  const found = draft && ({ ...rest, words: draftIds.map(nameOf) } as Segmentation);
  return { found, saved: edits && namedEdits(edits, nameOf), settled: settled && named(indexed(settled, draftIds)) };
}

function namedEdits({ ids, objects, ...edits }: KeptEdits, nameOf: (id: number) => string): SavedEdits {
  const names = (all: readonly (number | null)[]) => all.map((id) => (id === null ? null : firstName(nameOf(id))));
  const words = names(objects.ids).map((name) => name ?? "");
  return { ...edits, names: names(ids), objects: { layer: objects.layer, words } };
}

export interface Context {
  readonly vocabulary: Vocabulary;
  readonly rule: Rule;
}

export function labelingOf(size: Size, work: Work, context: Context): Labeling {
  const { found, saved, settled } = namedWork(work, context.vocabulary);
  return labelingWith(found ?? nothingFound(size), new Edits(size.width, size.height, saved), settled, context);
}

export function labelingWith(
  found: Segmentation,
  edits: Edits,
  settled: Settled | null,
  { rule, vocabulary }: Context,
): Labeling {
  const words = [...found.words];
  // words that came after the answer can be painted at once, and those that are gone stay where a person painted them
  for (const word of [...lookedFor(vocabulary), ...edits.painted])
    if (!words.some((known) => sameClass(known, word))) words.push(word);
  return new Labeling({ ...found, words }, edits, rule, entryFor(vocabulary), settled);
}

function nothingFound({ width, height }: Size): Segmentation {
  const labels = new Uint16Array(width * height).fill(NONE),
    confidence = new Uint8Array(width * height);
  return { width, height, labels, confidence, words: [], parts: null, model: "", dtype: "", seconds: 0 };
}

type Summary = Pick<ImageState, "corrected" | "pixels" | "unlabeled" | "uncertainty" | "least_certain" | "objects">;

export function summaryOf(labeling: Labeling): Summary {
  const { ids, labels, tally } = labeling;
  const pixels: Record<string, number> = {},
    objects: Record<string, number> = {};
  for (const [label, id] of ids.entries())
    if (tally.pixels[label]) pixels[id] = (pixels[id] ?? 0) + tally.pixels[label];
  for (const { label } of objectFigures(labeling)) objects[ids[label]] = (objects[ids[label]] ?? 0) + 1;
  const undecided = labels.length - tally.corrected;
  const doubt = tally.doubt.reduce((sum, one) => sum + one, 0) / 255;
  const [least] = doubtfulPlaces(labeling, 1, 0);
  return {
    corrected: tally.corrected,
    pixels,
    unlabeled: tally.pixels[NONE],
    objects: Object.keys(objects).length ? objects : null,
    uncertainty: undecided ? Number((doubt / undecided).toFixed(4)) : null,
    least_certain: least ? { x: least.x, y: least.y } : null,
  };
}
