/** What the browser's databases had before their versions 5 and 6, as it is kept now. */

import { FIRST_WORD } from "../labels/edits";
import { NONE } from "../labels/labeling";
import { mapped, packed, type PackedLayer, STRETCH } from "../labels/layer";
import type { Settled } from "./structure";

/** Places of words in a list of ids, which planes had instead of the ids. */
interface OldDraft {
  readonly ids?: readonly number[];
  readonly labels: Uint16Array;
}

/** Places of words in a list of ids, counted from 1. */
interface OldEdits {
  readonly ids?: readonly (number | null)[];
  readonly layer: PackedLayer;
  readonly done: readonly { readonly runs: Int32Array }[];
  readonly undone: readonly { readonly runs: Int32Array }[];
}

interface OldUnsent {
  readonly id?: string;
  readonly project?: unknown;
  readonly draft?: OldDraft | null;
  readonly edits?: OldEdits | null;
  readonly isRemoved?: boolean;
  readonly sent?: OldUnsent;
}

/** A value of a store of version 4 as version 5 has it; undefined: it has none. */
export function byIds(store: string, key: string, value: unknown): unknown {
  // what merged words had before
  if (store === "settings" && key.startsWith("merged ")) return undefined;
  if (store === "drafts") return draftByIds(value as OldDraft);
  if (store === "edits") return editsByIds(value as OldEdits);
  if (store !== "outbox") return value;
  const { sent, ...unsent } = value as OldUnsent;
  return { unsent: unsentByIds(unsent), sent: sent ? unsentByIds(sent) : null, refused: null };
}

function unsentByIds({ id: image, draft, edits, ...rest }: OldUnsent) {
  if (rest.project) return { kind: "project", ...rest };
  if (rest.isRemoved !== undefined) return { kind: "removal", image, ...rest };
  return { kind: "work", image, ...rest, ...(draft && { draft: draftByIds(draft) }), ...(edits && { edits: editsByIds(edits) }) };
}

function draftByIds(draft: OldDraft) {
  const { ids, ...rest } = draft;
  if (!ids) return draft;
  return { ...rest, labels: draft.labels.map((place) => (place === NONE ? NONE : ids[place])), words: ids };
}

function editsByIds(edits: OldEdits) {
  const { ids, ...rest } = edits;
  if (!ids) return edits;
  const code = (place: number) => (place === 0 ? 0 : ids[place - 1] === null ? 1 : ids[place - 1]! + FIRST_WORD);
  const steps = (all: OldEdits["done"]) =>
    all.map((step) => ({ ...step, runs: step.runs.map((number, at) => (at % STRETCH < 2 ? number : code(number))) }));
  return { ...rest, layer: mapped(edits.layer, code), done: steps(edits.done), undone: steps(edits.undone) };
}

/** A value of a store of version 5 as version 6 has it. */
export function settledInStretches(store: string, _key: string, value: unknown): unknown {
  if (store === "settled") return inStretches(value);
  if (store !== "outbox") return value;
  const { unsent, sent, ...rest } = value as { unsent: OldSettling; sent: OldSettling | null };
  return { ...rest, unsent: settledOf(unsent), sent: sent && settledOf(sent) };
}

interface OldSettling {
  readonly settled?: unknown;
}

function settledOf(change: OldSettling) {
  return change.settled ? { ...change, settled: inStretches(change.settled) } : change;
}

function inStretches(labels: unknown): Settled {
  return { labels: packed(labels as Uint16Array), rule: null };
}
