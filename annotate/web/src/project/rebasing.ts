/** Unsent changes on top of what others made meanwhile. */

import { editsOf, type SavedEdits } from "../labels/edits";
import { difference, empty, packed, unpacked } from "../labels/layer";
import type { Size } from "../labels/runs";
import type { Base, UnsentWork } from "./outbox";
import type { Choice, ImageState, Project, Work } from "./structure";
import { isLarge, type Rows } from "./work_file";
import { rebasedWords, type RebasedWords } from "./words";

/** What the service has of an image. */
export interface Known {
  readonly revision: number;
  readonly work: Work;
  /** The rule by which its label map was made, as a text; null: that isn't known. */
  readonly rule: string | null;
}

export function baseOf(revision: number, edits: SavedEdits | null, { width, height }: Size): Base {
  return { revision, ...editsOf(edits?.layer ?? empty(width * height), edits?.objects) };
}

/** What is left of a change once an earlier version of it is on the service; null: nothing. */
export function remaining({ draft, edits, settled, ...rest }: UnsentWork, sent: UnsentWork, base: Base): UnsentWork | null {
  const left = {
    ...(draft && draft !== sent.draft && { draft }),
    ...(edits && edits !== sent.edits && { edits }),
    ...(settled !== undefined && settled !== sent.settled && { settled }),
  };
  return Object.keys(left).length ? { ...rest, ...left, base } : null;
}

/** The rows of a large image that a change gives other labels; null: perhaps all. */
export function changedRows({ revision, work: before, rule }: Known, { base: of, edits, settled, state: { width, height } }: UnsentWork, work: Work): Rows | null {
  const isOther = [before, work].some((one) => one.settled !== null && one.settled.rule !== rule);
  const hasObjects = before.edits?.objects.layer || edits?.objects.layer;
  if (!isLarge({ width, height }) || isOther || hasObjects || of.revision !== revision) return null;
  const range = edits ? difference(of.layer, edits.layer) : null;
  // an image that is done, or open again, has the same labels
  if (!range) return settled === undefined ? null : [0, 1];
  return [Math.floor(range[0] / width), Math.ceil(range[1] / width)];
}

/** What was changed of a project, on top of what others made of it. */
export function rebasedProject(base: Project, mine: Project, theirs: Project): Omit<RebasedWords, "words"> & { project: Project } {
  const { words, ...changes } = rebasedWords(base.words, mine.words, theirs.words);
  const before = new Map<string, unknown>(Object.entries(base.options));
  const changed = Object.entries(mine.options).filter(([name, value]) => before.get(name) !== value);
  // only the service changes the taught words
  const options = { ...theirs.options, ...Object.fromEntries(changed), taught: theirs.options.taught ?? [] };
  const name = mine.name === base.name ? theirs.name : mine.name;
  return { project: { name, words, options, revision: theirs.revision }, ...changes };
}

/** Whether two people gave a pixel different words, or both changed its object. */
export function collides(base: Base, mine: SavedEdits, theirs: Base): boolean {
  const [before, own, other] = [base, mine, theirs].map(({ layer }) => unpacked(layer));
  if (own.some((value, at) => value !== before[at] && other[at] !== before[at] && value !== other[at])) return true;
  const [numbers, owns, others] = [base, mine, theirs].map(({ objects }) => numbersOf(objects, own.length));
  return owns.some((value, at) => value !== numbers[at] && others[at] !== numbers[at] && (value > 0 || others[at] > 0));
}

type Objects = SavedEdits["objects"];

function numbersOf({ layer }: Objects, pixels: number): Uint16Array {
  return layer ? unpacked(layer) : new Uint16Array(pixels);
}

/** Objects of two people: pixels whose object this page changed have its objects, and new ones have other numbers. */
function bothObjects(base: Objects, mine: Objects, theirs: Objects, pixels: number): Objects {
  const [before, own, other] = [base, mine, theirs].map((objects) => numbersOf(objects, pixels));
  const ids = [...theirs.ids],
    numbers = new Map([[0, 0]]);
  const isKept = (number: number) => base.ids[number - 1] !== undefined && [mine, theirs].every((one) => one.ids[number - 1] === base.ids[number - 1]);
  const layer = other.map((number, at) => {
    const value = own[at];
    if (value === before[at]) return number;
    if (!numbers.has(value)) numbers.set(value, isKept(value) ? value : ids.push(mine.ids[value - 1]));
    return numbers.get(value)!;
  });
  return { layer: layer.some(Boolean) ? packed(layer) : null, ids };
}

/**
 * The change that goes on from what others made meanwhile; null: nothing is left of it.
 *
 * Whoever was done hasn't seen what others corrected since, so the image isn't done then. It stays done where only the
 * model labeled it again.
 *
 * @param state that of the others' version; null: they took it away.
 */
export function rebased(change: UnsentWork, theirs: Work, state: ImageState | null, choice: Choice): UnsentWork | null {
  if (choice === "theirs") return null;
  // what the model found is the others', unless this page has a newer answer
  const unsent = change.draft ? change : { ...change, state: { ...change.state, answers: state?.answers ?? null } };
  const base = baseOf(state?.revision ?? 0, theirs.edits, unsent.state);
  if (choice === "mine") return { ...unsent, base };
  const { settled, ...others } = unsent;
  const [before, now] = [unsent.base.layer, base.layer].map(unpacked);
  const isSeen = !settled || before.every((value, at) => value === now[at]);
  const kept = isSeen ? { ...unsent, base } : { ...others, base, state: { ...others.state, done: false } };
  if (!kept.edits) return isSeen || kept.draft ? kept : null;
  const mine = unpacked(kept.edits.layer);
  // where both collide, these of this page
  const both = now.map((value, at) => (mine[at] !== before[at] ? mine[at] : value));
  const objects = bothObjects(unsent.base.objects, kept.edits.objects, base.objects, mine.length);
  return { ...kept, edits: editsOf(packed(both), objects) };
}
