/**
 * Changes that the service doesn't have yet: a queue for each image, and one for the project's words and options. What is
 * refused holds up its own queue alone. Nothing here waits, sends or writes.
 */

import type { SavedEdits } from "../labels/edits";
import type { PackedLayer } from "../labels/layer";
import type { Change, Project, Refusal } from "./structure";

export interface Base {
  readonly revision: number;
  /** Its corrections and objects. */
  readonly corrections: PackedLayer;
  readonly objects: SavedEdits["objects"];
}

/** Work on an image, on top of what the service had. */
export interface UnsentWork extends Change {
  readonly kind: "work";
  readonly image: string;
  readonly base: Base;
  /** Tells the service whether it has this change already, if its answer was lost; another one for other content. */
  readonly change: string;
}

interface UnsentRemoval {
  readonly kind: "removal";
  readonly image: string;
  readonly change: string;
  /** Whether the image is removed; else it is put back. */
  readonly isRemoved: boolean;
  readonly state: Change["state"];
}

/** Another version of the project, on top of the one that the service had. */
export interface UnsentProject {
  readonly kind: "project";
  readonly base: Project;
  readonly project: Project;
  readonly change: string;
}

export type Unsent = UnsentWork | UnsentRemoval | UnsentProject;

/** A change as the database has it. */
export interface KeptEntry<Kind extends Unsent = Unsent> {
  readonly unsent: Kind;
  /** The version that may be on the service, since its answer didn't come; it is sent again before any other. */
  readonly sent: Kind | null;
  /** Why the service doesn't take it; null: nothing is known against it. */
  readonly refused: string | null;
  /** Who made it: the name of a key, or the one that was typed. */
  readonly by: string;
}

export interface QueuedEntry<Kind extends Unsent = Unsent> extends KeptEntry<Kind> {
  readonly key: string;
  unsent: Kind;
  sent: Kind | null;
  refused: string | null;
  /** Whether the page shows it, so that what is painted next includes it. */
  readonly isShown: boolean;
}

const PROJECT = "";

export class Outbox {
  /** By image, in the order in which they are sent; the oldest change of each is first. */
  private readonly queues = new Map<string, QueuedEntry[]>();
  /** Queues of which nothing is sent: their first change is being put together with what others did. */
  readonly held = new Set<string>();

  add<Kind extends Unsent>(key: string, kept: KeptEntry<Kind>): QueuedEntry<Kind> {
    const { unsent } = kept,
      queue = queueOf(unsent);
    const isShown = unsent.kind === "work" && !this.shown(queue);
    const entry = { key, ...kept, isShown };
    const entries = [...this.of(queue), entry],
      others = [...this.queues].filter(([other]) => other !== queue);
    // words come before what is painted with them
    if (queue === PROJECT) this.queues.clear();
    this.queues.set(queue, entries);
    for (const [other, known] of others) this.queues.set(other, known);
    return entry;
  }

  /** The unsent version of the project. */
  get project(): QueuedEntry<UnsentProject> | null {
    return (this.queues.get(PROJECT)?.[0] as QueuedEntry<UnsentProject> | undefined) ?? null;
  }

  /** Unsent work that the page shows. */
  shown(image: string): QueuedEntry<UnsentWork> | null {
    const isIt = ({ isShown }: QueuedEntry) => isShown;
    return (this.queues.get(image)?.find(isIt) as QueuedEntry<UnsentWork> | undefined) ?? null;
  }

  /** Whether an image will be removed once everything is sent. */
  isRemoved(image: string): boolean {
    const removals = this.of(image).flatMap(({ unsent, refused }) => (unsent.kind === "removal" && refused === null ? [unsent] : []));
    return removals.at(-1)?.isRemoved ?? false;
  }

  of(image: string): readonly QueuedEntry[] {
    return this.queues.get(image) ?? [];
  }

  get entries(): readonly QueuedEntry[] {
    return [...this.queues.values()].flat();
  }

  /** Other content for a change, which is tried again. */
  amend<Kind extends Unsent>(entry: QueuedEntry<Kind>, unsent: Kind): void {
    entry.unsent = unsent;
    entry.refused = null;
  }

  /**
   * What is sent next: what didn't fail, words first, and images in turn.
   *
   * @param isReady whether the service knows the words of a change.
   */
  next(isReady: (unsent: Unsent) => boolean): QueuedEntry | null {
    for (const [queue, entries] of this.queues) {
      const first = firstOf(entries);
      if (first?.refused === null && !this.held.has(queue) && isReady(first.unsent)) return first;
    }
    return null;
  }

  /** The answer to a change didn't come: others are tried before it is sent again. */
  postpone({ unsent }: QueuedEntry): void {
    const queue = queueOf(unsent),
      entries = this.queues.get(queue);
    if (!this.queues.delete(queue)) return;
    this.queues.set(queue, entries!);
  }

  /** The service has a change, or nobody wants it any more. */
  drop(entry: QueuedEntry): void {
    const queue = queueOf(entry.unsent);
    const left = this.of(queue).filter((one) => one !== entry);
    this.queues.delete(queue);
    if (left.length) this.queues.set(queue, left);
  }

  /** Changes that wait for the service, or are being sent. */
  get waiting(): number {
    const counts = [...this.queues.values()].map((entries) => {
      const isBlocked = (firstOf(entries)?.refused ?? null) !== null;
      return isBlocked ? 0 : entries.filter(({ refused }) => refused === null).length;
    });
    return counts.reduce((sum, count) => sum + count, 0);
  }

  get refusals(): Refusal[] {
    return this.entries.flatMap(({ key, unsent, refused: reason }) => {
      if (reason === null) return [];
      const isRemoved = unsent.kind === "removal" && unsent.isRemoved;
      const [image, name] = unsent.kind === "project" ? [null, null] : [unsent.image, unsent.state.image];
      return [{ key, image, name, kind: unsent.kind, isRemoved, reason }];
    });
  }
}

/** The change of a queue that comes first: work doesn't wait for a removal that was refused. */
function firstOf(entries: readonly QueuedEntry[]): QueuedEntry | undefined {
  return entries.find(({ refused, unsent }) => refused === null || unsent.kind !== "removal");
}

export function queueOf(unsent: Unsent): string {
  return unsent.kind === "project" ? PROJECT : unsent.image;
}
