/**
 * Changes that the service doesn't have yet, kept in the browser's database, so that neither a closed page nor a stopped
 * service loses them: a queue for each image, and one for the project's words and options. Nothing here sends.
 */

import { signal } from "@preact/signals";

import { idsOf, type SavedEdits } from "../labels/edits";
import { unpacked } from "../labels/layer";
import type { Database, Entry } from "./database";
import { renumbered, wordsOf } from "./keeping";
import type { Change, Project } from "./structure";

/** What was decided in the version of an image that a change was made from, without a history. */
export interface Base extends SavedEdits {
  readonly revision: number;
}

/** Work on an image, on top of what the service had. */
export interface UnsentWork extends Change {
  readonly kind: "work";
  readonly image: string;
  readonly base: Base;
  /** Tells the service whether it has this change already, if its answer was lost; another one for other content. */
  readonly change: string;
}

export interface UnsentRemoval {
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
  unsent: Kind;
  /** The version that may be on the service, since its answer didn't come; it is sent again before any other. */
  sent: Kind | null;
  /** Why the service doesn't take it; null: nothing is known against it. */
  refused: string | null;
  /** Who made it: the name of a key, or the one that was typed. */
  readonly by: string;
}

export interface QueuedEntry<Kind extends Unsent = Unsent> extends KeptEntry<Kind> {
  readonly key: string;
  /** Whether the page shows it, so that what is painted next includes it. */
  readonly isShown: boolean;
  /** Whether it is being put together with what others did: nothing of its queue is sent meanwhile. */
  isHeld: boolean;
  /** Ends when the database has its newest version. */
  written: Promise<void>;
}

const PROJECT = "";

export class Outbox {
  /** Changes that wait for the service, or are being sent. */
  readonly waiting = signal(0);
  readonly refused = signal<readonly QueuedEntry[]>([]);
  /** Images take turns in this order; of an image, the oldest change is first. */
  entries: readonly QueuedEntry[] = [];
  private last = 0;

  constructor(
    private readonly database: Database,
    /** Which tab of the browser this is. */
    readonly tab = `${Date.now()}-${Math.random()}`,
  ) {}

  /** An id that no change had. */
  id(): string {
    return `${this.tab}-${String(++this.last).padStart(6, "0")}`;
  }

  add<Kind extends Unsent>(kept: KeptEntry<Kind>): QueuedEntry<Kind> {
    const { unsent } = kept;
    const isShown = unsent.kind === "work" && !this.shown(unsent.image);
    const entry = { ...kept, key: `${this.tab} ${this.id()}`, isShown, isHeld: false, written: Promise.resolve() };
    // words come before what is painted with them
    this.entries = unsent.kind === "project" ? [entry, ...this.entries] : [...this.entries, entry];
    this.count();
    return entry;
  }

  /** Keeps a change, in place of an earlier version of it if there is one. @param by who makes it. */
  put<Kind extends Unsent>(entry: QueuedEntry<Kind> | null, unsent: Omit<Kind, "change">, by: string): Promise<void> {
    return this.amend(entry ?? this.add<Kind>({ unsent: unsent as Kind, sent: null, refused: null, by }), unsent);
  }

  /** Other content for a change, which is tried again. */
  amend<Kind extends Unsent>(entry: QueuedEntry<Kind>, unsent: Omit<Kind, "change">): Promise<void> {
    entry.unsent = { ...unsent, change: this.id() } as Kind;
    return this.mark(entry, null);
  }

  /** @param refused why the service doesn't take it; null: it is tried again. */
  mark(entry: QueuedEntry, refused: string | null): Promise<void> {
    entry.refused = refused;
    return this.write(entry);
  }

  write(entry: QueuedEntry): Promise<void> {
    this.count();
    return (entry.written = this.database.write([keptEntry(entry)]));
  }

  /** The unsent version of the project. */
  get project(): QueuedEntry<UnsentProject> | null {
    return (this.of(PROJECT)[0] as QueuedEntry<UnsentProject> | undefined) ?? null;
  }

  /** Unsent work that the page shows. */
  shown(image: string): QueuedEntry<UnsentWork> | null {
    return (this.of(image).find(({ isShown }) => isShown) as QueuedEntry<UnsentWork> | undefined) ?? null;
  }

  /** Whether an image will be removed once everything is sent. */
  isRemoved(image: string): boolean {
    const last = this.of(image).findLast(({ unsent, refused }) => unsent.kind === "removal" && refused === null);
    return last?.unsent.kind === "removal" && last.unsent.isRemoved;
  }

  of(queue: string): QueuedEntry[] {
    return this.entries.filter(({ unsent }) => queueOf(unsent) === queue);
  }

  /**
   * What is sent next: what didn't fail, words first, and images in turn.
   *
   * @param isReady whether the service knows the words of a change.
   */
  next(isReady: (unsent: Unsent) => boolean): QueuedEntry | null {
    const isHeld = (queue: string) => this.of(queue).some((entry) => entry.isHeld);
    const found = [...this.firsts].find(([queue, { unsent, refused }]) => refused === null && isReady(unsent) && !isHeld(queue));
    return found?.[1] ?? null;
  }

  /** The first change of each queue: work doesn't wait for a removal that was refused. */
  private get firsts(): ReadonlyMap<string, QueuedEntry> {
    const firsts = new Map<string, QueuedEntry>();
    for (const entry of this.entries) {
      const { unsent, refused } = entry,
        queue = queueOf(unsent);
      if (!firsts.has(queue) && (unsent.kind !== "removal" || refused === null)) firsts.set(queue, entry);
    }
    return firsts;
  }

  /** The answer to a change didn't come: others are tried before it is sent again. */
  postpone({ unsent }: QueuedEntry): void {
    const queue = this.of(queueOf(unsent));
    this.entries = [...this.entries.filter((entry) => !queue.includes(entry)), ...queue];
  }

  /** The service has a change, or nobody wants it any more. @param edits whose history is kept, with the service's revision. */
  async drop(entry: QueuedEntry, edits: SavedEdits | null = null, revision = 0): Promise<void> {
    this.postpone(entry);
    this.entries = this.entries.filter((one) => one !== entry);
    this.count();
    const gone: Entry = { store: "outbox", key: entry.key };
    const hasHistory = edits && edits.done.length + edits.undone.length > 0;
    const history: Entry[] = hasHistory ? [{ store: "edits", key: queueOf(entry.unsent), value: { ...edits, revision } }] : [];
    // without room for the history it is lost, and nothing else
    await this.database.write([gone, ...history]).catch(() => this.database.write([gone]));
  }

  /** Gives words other ids. */
  renumber(ids: ReadonlyMap<number, number>): void {
    for (const entry of this.entries) {
      const { unsent } = entry;
      if (unsent.kind !== "work" || ![...wordsOf(unsent), ...idsOf(unpacked(unsent.base.layer))].some((id) => ids.has(id))) continue;
      void this.amend(entry, renumbered(unsent, ids)).catch(() => {});
    }
  }

  private count(): void {
    const { firsts } = this;
    const isWaiting = ({ unsent, refused }: QueuedEntry) => refused === null && firsts.get(queueOf(unsent))!.refused === null;
    this.waiting.value = this.entries.filter(isWaiting).length;
    this.refused.value = this.entries.filter(({ refused }) => refused !== null);
  }
}

function queueOf(unsent: Unsent): string {
  return unsent.kind === "project" ? PROJECT : unsent.image;
}

export function keptEntry({ key, unsent, sent, refused, by }: QueuedEntry): Entry {
  // a version that the outbox has is enough
  return { store: "outbox", key, value: { unsent, sent: sent?.change === unsent.change ? null : sent, refused, by } };
}
