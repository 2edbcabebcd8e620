/** An answer of a model by words' ids, labels from what is known of an image, and their summary. */

import type { Segmentation } from "../backend";
import { Edits, idsOf, withOtherIds } from "../labels/edits";
import { type Context, doubtfulPlaces, type Draft, Labeling, NONE } from "../labels/labeling";
import { mapped, unpacked, valuesOf } from "../labels/layer";
import { objectFigures } from "../labels/objects";
import type { Size } from "../labels/runs";
import type { Base } from "./outbox";
import type { ImageState, Work } from "./structure";
import { entryOf, type Vocabulary } from "./words";

/** The answer of a back end; all of its words have an id. */
export function draftOf({ words, ...found }: Segmentation, vocabulary: Vocabulary): Draft {
  const ids = words.map((word) => entryOf(vocabulary, word)!.id);
  return { ...found, labels: found.labels.map((label) => (label === NONE ? NONE : ids[label])), words: [...new Set(ids)] };
}

/** The draft of an image that no model labeled. */
const NOTHING_FOUND: Draft = {
  width: 1,
  height: 1,
  labels: Uint16Array.of(NONE),
  confidence: new Uint8Array(1),
  words: [],
  parts: null,
  model: "",
  dtype: "",
  seconds: 0,
  quality: null,
};

export function labelingOf(size: Size, { draft, edits, settled }: Work, context: Context): Labeling {
  return new Labeling(draft ?? NOTHING_FOUND, new Edits(size.width, size.height, edits), context, settled?.labels);
}

/** Work in which some words have other ids, and the corrections that it was made on, if it has these. */
export function renumbered<Some extends Partial<Work> & { readonly base?: Base }>(work: Some, ids: ReadonlyMap<number, number>): Some {
  if (!ids.size) return work;
  const { base, draft, edits, settled } = work;
  const now = (id: number) => ids.get(id) ?? id;
  return {
    ...work,
    ...(base && { base: { ...base, ...withOtherIds(base, ids) } }),
    ...(draft && { draft: { ...draft, labels: draft.labels.map(now), words: [...new Set(draft.words.map(now))] } }),
    ...(edits && { edits: withOtherIds(edits, ids) }),
    ...(settled && { settled: { ...settled, labels: mapped(settled.labels, now) } }),
  };
}

/** The words that a change gives to pixels. */
export function wordsOf({ draft, edits, settled }: Partial<Work>): number[] {
  const painted = edits ? idsOf(unpacked(edits.layer)) : [];
  return [...valuesOf(draft?.labels ?? []), ...valuesOf(settled ? unpacked(settled.labels) : []), ...painted].filter((id) => id !== NONE);
}

type Summary = Pick<ImageState, "corrected" | "pixels" | "unlabeled" | "uncertainty" | "least_certain" | "objects">;

export function summaryOf(labeling: Labeling, figures = objectFigures(labeling)): Summary {
  const { labels, tally, words } = labeling;
  const objects: Record<string, number> = {};
  for (const { label } of figures) objects[label] = (objects[label] ?? 0) + 1;
  const undecided = labels.length - tally.corrected;
  const doubt = tally.doubt.reduce((sum, one) => sum + one, 0) / 255;
  const [least] = doubtfulPlaces(labeling, 1, 0);
  return {
    corrected: tally.corrected,
    pixels: Object.fromEntries(words.flatMap(({ id }) => (tally.pixels[id] ? [[id, tally.pixels[id]]] : []))),
    unlabeled: tally.pixels[NONE],
    objects: Object.keys(objects).length ? objects : null,
    uncertainty: undecided ? Number((doubt / undecided).toFixed(4)) : null,
    least_certain: least ? { x: least.x, y: least.y } : null,
  };
}
