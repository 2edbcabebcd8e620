/** A change that is safe in the browser and that the service doesn't have yet. */

import { type PackedLayer, unpacked } from "../labels/layer";
import type { Size } from "../labels/runs";
import type { Change, Choice, ImageState, Project, Work } from "./structure";
import { movedIds, rebasedWords } from "./words";
import { correctionsOf, editsOf } from "./work_file";

export interface Base {
  readonly revision: number;
  /** Its corrections, as `correctionsOf` has them. */
  readonly corrections: PackedLayer;
}

export interface Unsent extends Change {
  readonly id: string;
  readonly base: Base;
  /** Tells the service whether it has this change already, if its answer was lost; another one for other content. */
  readonly change: string;
  /** Whether the image is removed or put back, which is all of the change then. */
  readonly isRemoved?: boolean;
}

/** Another version of the project, on top of the one that the service had. */
export interface UnsentProject {
  readonly base: Project;
  readonly project: Project;
  readonly change: string;
}

/** A change whose earlier version may be on the service, since its answer didn't come. */
export type Kept<One extends Unsent | UnsentProject> = One & { sent?: One };

/** What is left of a change once an earlier version of it is on the service; null: nothing. */
export function remaining({ draft, edits, settled, ...rest }: Unsent, sent: Unsent, base: Base): Unsent | null {
  const left = {
    ...(draft && draft !== sent.draft && { draft }),
    ...(edits && edits !== sent.edits && { edits }),
    ...(settled !== undefined && settled !== sent.settled && { settled }),
  };
  return Object.keys(left).length ? { ...rest, ...left, base } : null;
}

/** What was changed of a project, on top of what others made of it, and the ids that words have then. */
export function rebasedProject(base: Project, mine: Project, theirs: Project): { project: Project; moved: Map<number, number> } {
  const words = rebasedWords(base.words, mine.words, theirs.words);
  const before = new Map<string, unknown>(Object.entries(base.options));
  const changed = Object.entries(mine.options).filter(([name, value]) => before.get(name) !== value);
  // only the service changes the taught words
  const options = { ...theirs.options, ...Object.fromEntries(changed), taught: theirs.options.taught ?? [] };
  const name = mine.name === base.name ? theirs.name : mine.name;
  return { project: { name, words, options, revision: theirs.revision }, moved: movedIds(mine.words, words) };
}

/** Whether two people gave a pixel different words. */
export function collides(...versions: readonly [base: PackedLayer, mine: PackedLayer, theirs: PackedLayer]): boolean {
  const [base, mine, theirs] = versions.map(unpacked);
  for (let at = 0; at < base.length; at++)
    if (mine[at] !== base[at] && theirs[at] !== base[at] && mine[at] !== theirs[at]) return true;
  return false;
}

/**
 * The change that goes on from what others made meanwhile; null: nothing is left of it.
 *
 * Whoever was done hasn't seen what others corrected since, so the image isn't done then. It stays done where only the
 * model labeled it again.
 *
 * @param state that of the others' version; null: they took it away.
 */
export function rebased(change: Unsent, theirs: Work, state: ImageState | null, choice: Choice): Unsent | null {
  const revision = state?.revision ?? 0;
  // what the model found is the others', unless this page has a newer answer
  const unsent = change.draft ? change : { ...change, state: { ...change.state, answers: state?.answers ?? null } };
  const size: Size = unsent.state;
  const their = correctionsOf(theirs.edits, size);
  const base: Base = { revision, corrections: their };
  if (choice === "theirs") return null;
  if (choice === "mine") return { ...unsent, base };
  const { settled, ...others } = unsent;
  const [before, now] = [unsent.base.corrections, their].map(unpacked);
  const isSeen = !settled || before.every((value, at) => value === now[at]);
  const kept = isSeen ? { ...unsent, base } : { ...others, base, state: { ...others.state, done: false } };
  if (!kept.edits) return isSeen || kept.draft ? kept : null;
  const mine = unpacked(correctionsOf(kept.edits, size));
  // where both collide, these of this page
  const both = now.map((value, at) => (mine[at] !== before[at] ? mine[at] : value));
  const objects = kept.edits.objects.layer ? kept.edits.objects : (theirs.edits?.objects ?? kept.edits.objects);
  return { ...kept, edits: editsOf(both, objects) };
}

/** The change with other ids of some words. */
export function renumbered(unsent: Unsent, ids: ReadonlyMap<number, number>): Unsent {
  const other = <Id extends number | null>(id: Id) => (ids.get(id as number) ?? id) as Id;
  const { draft, edits, settled } = unsent;
  return {
    ...unsent,
    ...(draft && { draft: { ...draft, ids: draft.ids.map(other) } }),
    ...(edits && {
      edits: { ...edits, ids: edits.ids.map(other), objects: { ...edits.objects, ids: edits.objects.ids.map(other) } },
    }),
    ...(settled && { settled: settled.map(other) }),
  };
}
