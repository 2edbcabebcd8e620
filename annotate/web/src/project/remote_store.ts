/**
 * A project on a service. Changes are first stored in an outbox in the browser's database, so that neither a closed page
 * nor a stopped service loses them.
 */

import { signal } from "@preact/signals";

import { KeyError, PageError, sentence, TransientError } from "../backend";
import { ConflictError, MissingError, type ProjectApi } from "./api";
import type { Database } from "./database";
import {
  type Change,
  type Choice,
  type ImageEntry,
  type ImageState,
  newState,
  type OpenedProject,
  type Project,
  type Setting,
  type Store,
  type Verdict,
  type Watcher,
  type Work,
} from "./structure";
import { type Base, collides, rebased, renumbered, type Unsent } from "./unsent";
import { movedIds, rebasedWords } from "./words";
import { correctionsOf } from "./work_file";
import type { WorkPacker } from "./work_packer";

/** Retry delay after a failure, first and longest [ms]. */
const WAIT = { first: 500, longest: 15_000 };

/** Max images whose work on the service is cached, to tell this page's changes from those of others. */
const MOST_KNOWN = 8;

const NOTHING: Work = { draft: null, edits: null, settled: null };

/** An image's work on the service. */
interface Known {
  readonly base: Base;
  readonly work: Work;
  /** null: it has no work yet. */
  readonly state: ImageState | null;
}

/** A change in the outbox. */
interface Waiting {
  /** Its key in the outbox. */
  readonly key: string;
  unsent: Unsent;
}

export class RemoteStore implements Store {
  readonly isLasting = true;
  readonly isShared = true;
  readonly waiting = signal(0);
  readonly isAway = signal(false);
  private readonly tab = `${Date.now()}-${Math.random()}`;
  private readonly known = new Map<string, Known>();
  /** Unsent changes of this page by image, oldest first. */
  private readonly unsent = new Map<string, Waiting>();
  /** Unsent changes of closed pages. */
  private left: Waiting[] = [];
  /** The last known state of each image on the service. */
  private readonly states = new Map<string, ImageState>();
  /** The open image, which stays cached. */
  private held: string | null = null;
  /** The project on the service, and this page's unsent version of it. */
  private served: Project = { name: "", revision: 0, words: [], options: { synonyms: "first", parts: "", threshold: 0, background: null } };
  private wanted: Project | null = null;
  private watcher: Watcher | null = null;
  private sequence = 0;
  private isSending = false;
  private readonly ending = new AbortController();

  constructor(
    private readonly api: ProjectApi,
    private readonly database: Database,
    private readonly packer: WorkPacker,
  ) {}

  async open(): Promise<OpenedProject> {
    const served = await this.api.get();
    this.sequence = served.seq;
    this.served = served;
    this.left = await this.leftBehind();
    this.waiting.value = this.left.length;
    for (const state of served.images) this.states.set(state.image, state);
    return {
      project: served,
      images: served.images.map(entryOf),
      removed: served.removed.map((name, order) => removedEntry(name, order)),
    };
  }

  watch(watcher: Watcher): void {
    this.watcher = watcher;
    void this.send();
    void this.listen();
  }

  async saveProject(project: Project): Promise<void> {
    const options = { ...this.served.options, ...project.options };
    const wanted = { ...project, options };
    if (sameProject(wanted, this.served)) return void (this.wanted = null);
    this.wanted = wanted;
    void this.send();
  }

  async add(file: File, name: string, order: number): Promise<ImageEntry> {
    const state = await this.api.add(file, name);
    this.states.set(state.image, state);
    return entryOf(state, order);
  }

  file(id: string): Promise<Blob> {
    return this.api.file(id);
  }

  thumbnail(id: string): Promise<Blob> {
    return this.api.thumbnail(id);
  }

  async work(id: string): Promise<Work> {
    const unsent = this.unsent.get(id)?.unsent ?? this.left.find((one) => one.unsent.id === id)?.unsent;
    const known = await this.read(id);
    // the base of the open image changes only together with the image
    if (id !== this.held || !this.known.has(id)) this.remember(id, known);
    return unsent ? withChange(known.work, unsent) : known.work;
  }

  hold(id: string | null): void {
    this.held = id;
  }

  async save({ id }: ImageEntry, { state, ...change }: Change): Promise<void> {
    if (!this.unsent.has(id)) {
      if (!change.draft && !change.edits && change.settled === undefined) return;
      const { base } = this.known.get(id) ?? (await this.fetched(id));
      // a concurrent call may have added it
      if (!this.unsent.has(id)) {
        this.unsent.set(id, { key: `${this.tab} ${id}`, unsent: { id, base, state } });
        this.waiting.value++;
      }
    }
    const waiting = this.unsent.get(id)!;
    waiting.unsent = { ...waiting.unsent, ...change, state };
    await this.database.write([{ store: "outbox", key: waiting.key, value: waiting.unsent }]);
    void this.send();
  }

  async saveRemoved({ id, removed }: ImageEntry): Promise<void> {
    // the image's last changes are sent first
    for (let tries = 0; this.unsent.has(id) && !this.isAway.value && tries < 100; tries++) await pause(50);
    if (removed === null) await this.api.restore(id);
    else await this.api.remove(id);
  }

  async review({ id }: ImageEntry, verdict: Verdict, comment: string): Promise<void> {
    await this.sent();
    await this.takeState(id, await this.api.putReview(id, verdict, comment, this.states.get(id)!.revision));
  }

  async merge(word: number, into: number): Promise<void> {
    await this.sent();
    this.takeProject(await this.api.merge(word, into));
  }

  async separate(): Promise<void> {
    await this.sent();
    this.takeProject(await this.api.separate());
  }

  /** Waits until the service has everything. */
  private async sent(): Promise<void> {
    for (; this.wanted || this.waiting.value; await pause(50))
      if (this.isAway.value) throw new PageError("The service can't be reached; try again when it can.");
  }

  /** Does nothing: removed images stay in the project's trash. */
  async forget(): Promise<void> {}

  download(path: string): Promise<Blob> {
    return this.api.download(path);
  }

  get(setting: Setting): Promise<unknown> {
    return this.database.get("settings", setting);
  }

  put(setting: Setting, value: unknown): Promise<void> {
    return this.database.write([{ store: "settings", key: setting, value }]);
  }

  close(): void {
    this.ending.abort();
    this.database.close();
  }

  /** Changes that closed pages left in the outbox. */
  private async leftBehind(): Promise<Waiting[]> {
    const all = await this.database.getEntries("outbox");
    const open = await openTabs(this.tab, this.ending.signal);
    return all
      .filter(([key]) => !open.has(key.split(" ")[0]))
      .map(([key, unsent]) => ({ key, unsent }));
  }

  /** @param isChanged whether the service is known to have work, whatever the cached state says. */
  private async read(id: string, isChanged = false): Promise<Known> {
    const isNew = !isChanged && this.states.get(id)?.revision === 0;
    const content = isNew ? null : await this.api.work(id);
    const { vocabulary } = this.watcher?.context() ?? { vocabulary: this.served.words };
    const found = content && (await this.packer.unpack(content, vocabulary));
    const work = found?.work ?? NOTHING;
    const size = found?.state ?? this.states.get(id) ?? { width: 0, height: 0 };
    const corrections = correctionsOf(work.edits, size);
    return { base: { revision: found?.state.revision ?? 0, corrections }, work, state: found?.state ?? null };
  }

  private async fetched(id: string): Promise<Known> {
    const known = await this.read(id);
    this.remember(id, known);
    return known;
  }

  private remember(id: string, known: Known): void {
    this.known.delete(id);
    this.known.set(id, known);
    for (const other of [...this.known.keys()])
      if (this.known.size > MOST_KNOWN && other !== this.held && !this.unsent.has(other)) this.known.delete(other);
  }

  /** Sends the unsent changes, words first. */
  private async send(): Promise<void> {
    if (this.isSending || !this.watcher) return;
    this.isSending = true;
    let wait = WAIT.first;
    while (!this.ending.signal.aborted) {
      try {
        if (this.wanted) await this.sendProject(this.wanted);
        else if (this.left.length) await this.sendLeft(this.left[0]);
        else if (this.unsent.size) await this.sendChange([...this.unsent.values()][0]);
        else break;
        wait = WAIT.first;
        this.reached();
      } catch (failure) {
        if (this.ending.signal.aborted) break;
        const isPassing = failure instanceof TransientError || failure instanceof KeyError || this.wanted !== null;
        this.isAway.value = true;
        this.watcher.onProblem(sentence(failure));
        if (!isPassing) this.postpone();
        await pause(isPassing ? wait : WAIT.longest);
        wait = Math.min(2 * wait, WAIT.longest);
      }
    }
    this.isSending = false;
  }

  /** Clears the offline message. */
  private reached(): void {
    if (!this.isAway.value) return;
    this.isAway.value = false;
    this.watcher!.onProblem(null);
  }

  /** Moves a refused change to the end of the queue. */
  private postpone(): void {
    const [first, ...others] = this.left;
    if (first) this.left = [...others, first];
    else
      for (const [id, waiting] of [...this.unsent].slice(0, 1)) {
        this.unsent.delete(id);
        this.unsent.set(id, waiting);
      }
  }

  private async sendProject(wanted: Project): Promise<void> {
    try {
      const { name, revision, words, options } = await this.api.put(wanted, this.served.revision);
      this.served = { name, revision, words, options };
      if (this.wanted === wanted) this.wanted = null;
    } catch (failure) {
      if (!(failure instanceof ConflictError)) throw failure;
      const current = failure.current as Project;
      // includes what was typed meanwhile
      const mine = this.wanted ?? wanted;
      const words = rebasedWords(this.served.words, mine.words, current.words);
      const moved = movedIds(mine.words, words);
      if (moved.size) for (const waiting of this.unsent.values()) waiting.unsent = renumbered(waiting.unsent, moved);
      this.served = current;
      // only the service changes the taught words
      const { taught = [] } = current.options;
      this.wanted = { ...mine, words, options: { ...mine.options, taught } };
      this.watcher!.onProject(this.wanted);
    }
  }

  private async sendLeft(waiting: Waiting): Promise<void> {
    const { id } = waiting.unsent;
    // after a merge it is sent again
    if (!(await this.deliver(waiting, "both"))) return;
    this.left = this.left.filter((one) => one !== waiting);
    await this.over(waiting.key);
    if (!this.unsent.has(id)) this.watcher!.onWork(id, (await this.fetched(id)).work);
  }

  private async sendChange(waiting: Waiting): Promise<void> {
    const { unsent, key } = waiting;
    if (!(await this.deliver(waiting, null))) return;
    if (waiting.unsent !== unsent) {
      // what was changed during the request is based on the service's new version
      const { base } = this.known.get(unsent.id)!;
      const { settled, ...rest } = waiting.unsent;
      const isSettledSent = settled === unsent.settled;
      waiting.unsent = { ...rest, base, ...(!isSettledSent && settled !== undefined && { settled }) };
      await this.database.write([{ store: "outbox", key, value: waiting.unsent }]);
      return;
    }
    this.unsent.delete(unsent.id);
    await this.over(key);
    // others may have changed it during the request
    const newest = this.states.get(unsent.id);
    if (newest && newest.revision > (this.known.get(unsent.id)?.base.revision ?? 0)) await this.refresh(newest);
  }

  private async over(key: string): Promise<void> {
    await this.database.write([{ store: "outbox", key }]);
    this.waiting.value--;
  }

  /**
   * Sends a change; false: it was merged with changes of others and has to be sent again.
   *
   * @param choice how to resolve a conflict; null: ask the user.
   */
  private async deliver(waiting: Waiting, choice: "both" | null): Promise<boolean> {
    const { unsent } = waiting;
    const { id, settled } = unsent;
    try {
      let { revision } = unsent.base;
      if (settled === null) ({ revision } = await this.api.putDone(id, false, revision));
      const known = this.known.get(id) ?? (await this.fetched(id));
      const work = withChange({ ...known.work, settled: null }, unsent);
      const content = await this.packer.pack(unsent.state, work, this.watcher!.context());
      let state = await this.api.putWork(id, content, revision);
      if (settled) state = await this.api.putDone(id, true, state.revision);
      const corrections = correctionsOf(work.edits, state);
      this.remember(id, { base: { revision: state.revision, corrections }, work, state });
      const isNewest = (this.states.get(id)?.revision ?? 0) <= state.revision;
      if (isNewest) this.states.set(id, state);
      if (isNewest && waiting.unsent === unsent) this.watcher!.onState(id, state, false);
      return true;
    } catch (failure) {
      if (failure instanceof MissingError) {
        this.reached();
        this.watcher!.onProblem(`“${id}” was removed by somebody; put it back to go on with it.`);
        return true;
      }
      if (!(failure instanceof ConflictError)) throw failure;
      await this.resolve(waiting, choice);
      return false;
    }
  }

  /** Merges a change with changes of others. */
  private async resolve(waiting: Waiting, given: "both" | null): Promise<void> {
    const { id } = waiting.unsent;
    const theirs = await this.read(id, true);
    const size = waiting.unsent.state;
    const their = correctionsOf(theirs.work.edits, size);
    const isCrowded = ({ edits, base }: Unsent) => edits && collides(base.corrections, correctionsOf(edits, size), their);
    const { edits, settled } = waiting.unsent;
    const isLocked = theirs.work.settled !== null && settled !== null;
    let choice: Choice = "both";
    if (!edits && isLocked) choice = "theirs";
    else if (!given && (isLocked || isCrowded(waiting.unsent)))
      choice = await this.watcher!.choose({
        id,
        by: theirs.state?.by ?? null,
        isDone: isLocked,
        mine: withChange(theirs.work, waiting.unsent),
        theirs: theirs.work,
      });
    await this.idle(id);
    // from here on the user can't paint meanwhile
    this.remember(id, theirs);
    const next = rebased(waiting.unsent, theirs.work, theirs.state, choice);
    if (!next) this.drop(waiting);
    else waiting.unsent = isLocked ? { ...next, settled: null } : next;
    // a closed page's change doesn't hide what was painted on this one
    const isShown = [undefined, waiting].includes(this.unsent.get(id));
    if (isShown) this.watcher!.onWork(id, next ? withChange(theirs.work, waiting.unsent) : theirs.work);
    if (isShown && !next && theirs.state) this.watcher!.onState(id, theirs.state, true);
    await this.database.write([{ store: "outbox", key: waiting.key, ...(next && { value: waiting.unsent }) }]);
    if (!next) this.waiting.value--;
  }

  /** Waits until no stroke is in progress in an image. */
  private async idle(id: string): Promise<void> {
    while (this.watcher!.isBusy(id)) await pause(50);
  }

  private drop(waiting: Waiting): void {
    if (this.unsent.get(waiting.unsent.id) === waiting) this.unsent.delete(waiting.unsent.id);
    this.left = this.left.filter((one) => one !== waiting);
  }

  /** Polls for changes of others while the page is open. */
  private async listen(): Promise<void> {
    let wait = WAIT.first;
    while (!this.ending.signal.aborted) {
      try {
        const { seq, changes, states, project } = await this.api.changes(this.sequence, this.ending.signal);
        this.sequence = seq;
        if (project) this.takeProject(project);
        if (changes.some(({ what }) => what === "improved")) this.watcher!.onImproved();
        for (const { what, image } of changes) if (what === "removed" && image) this.takeRemoved(image, states[image]);
        for (const [name, state] of Object.entries(states)) await this.takeState(name, state);
        wait = WAIT.first;
      } catch {
        if (this.ending.signal.aborted) return;
        await pause(wait);
        wait = Math.min(2 * wait, WAIT.longest);
      }
    }
  }

  private takeProject(project: Project): void {
    // this page's unsent version is rebased when it is sent
    if (project.revision <= this.served.revision || this.wanted) return;
    this.served = project;
    this.watcher!.onProject(project);
  }

  private takeRemoved(name: string, state: ImageState | undefined): void {
    if (!state) this.watcher!.onRemoved(name);
  }

  private async takeState(name: string, state: ImageState): Promise<void> {
    const before = this.states.get(name);
    if (!before) this.watcher!.onAdded(entryOf(state, Number.MAX_SAFE_INTEGER));
    if (before && state.revision <= before.revision) return;
    this.states.set(name, state);
    await this.refresh(state);
  }

  /** Shows changes of others. */
  private async refresh(state: ImageState): Promise<void> {
    const name = state.image;
    // an unsent change is merged when it is sent
    if (this.unsent.has(name)) return;
    if (name !== this.held) {
      this.known.delete(name);
      this.watcher!.onState(name, state, true);
      return;
    }
    const known = await this.read(name);
    await this.idle(name);
    if (this.unsent.has(name) || known.base.revision < (this.states.get(name)?.revision ?? 0)) return;
    this.remember(name, known);
    this.watcher!.onState(name, state, true);
    this.watcher!.onWork(name, known.work);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function withChange(work: Work, { draft, edits, settled }: Omit<Change, "state">): Work {
  return {
    draft: draft ?? work.draft,
    edits: edits ?? work.edits,
    settled: settled === undefined ? work.settled : settled,
  };
}

function entryOf(state: ImageState, order: number): ImageEntry {
  return { id: state.image, order, removed: null, state };
}

/** An image in the trash; only its name is known. */
function removedEntry(name: string, order: number): ImageEntry {
  const size = { width: 1, height: 1 };
  return { id: name, order: Number.MAX_SAFE_INTEGER, removed: order + 1, state: newState(name, size) };
}

function sameProject(one: Project, other: Project): boolean {
  const content = ({ name, words, options }: Project) =>
    JSON.stringify([name, words.map(({ id, name: word, color, removed }) => [id, word, color, removed]), Object.entries(options).sort()]);
  return content(one) === content(other);
}

/** The open tabs of this browser; this one is registered until it closes. */
async function openTabs(tab: string, signal: AbortSignal): Promise<ReadonlySet<string>> {
  // there are no locks without HTTPS; the service's revisions then merge what two pages send
  if (!navigator.locks) return new Set();
  void navigator.locks.request(`segvoc ${tab}`, () => new Promise((resolve) => signal.addEventListener("abort", resolve)));
  const { held = [] } = await navigator.locks.query();
  return new Set(held.flatMap(({ name }) => (name?.startsWith("segvoc ") ? [name.slice(7)] : [])));
}
