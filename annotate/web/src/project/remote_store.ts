/**
 * A project on a service. Changes are first stored in an outbox in the browser's database, so that neither a closed page
 * nor a stopped service loses them. Each has an id by which the service makes it once, however often it is sent.
 */

import { KeyError, PageError, sentence, TransientError } from "../backend";
import { empty } from "../labels/layer";
import { ConflictError, MissingError, type ProjectApi } from "./api";
import type { Database, Entry } from "./database";
import { newState, Store } from "./structure";
import type { Change, Choice, ImageEntry, ImageState, OpenedProject, Project, Verdict, Watcher, Work } from "./structure";
import { type Base, collides, type Kept, rebased, rebasedProject, remaining, renumbered, type Unsent, type UnsentProject } from "./unsent";
import { correctionsOf } from "./work_file";
import type { WorkPacker } from "./work_packer";

/** Retry delay after a failure, first and longest [ms]. */
const WAIT = { first: 500, longest: 15_000 };

/** Max images whose work on the service is cached, to tell this page's changes from those of others. */
const MOST_KNOWN = 8;

const NOTHING: Work = { draft: null, edits: null, settled: null };

interface Known {
  readonly base: Base;
  readonly work: Work;
}

interface Waiting {
  readonly key: string;
  unsent: Unsent;
  /** The version that may be on the service, since its answer didn't come; it is sent again before any other. */
  sent: Unsent | null;
  written: Promise<void>;
  /** Whether the page shows it, so that what is painted next includes it. */
  readonly isShown: boolean;
  /** Whether its image is in the trash: it waits there, too. */
  isParked: boolean;
}

export class RemoteStore extends Store {
  readonly isLasting = true;
  readonly isShared = true;
  private readonly tab = `${Date.now()}-${Math.random()}`;
  private last = 0;
  private readonly known = new Map<string, Known>();
  /** Unsent changes of this page and of closed ones, oldest first. */
  private outbox: Waiting[] = [];
  /** The newest known state of each image on the service. */
  private readonly states = new Map<string, ImageState>();
  /** Images that others changed, which the page doesn't show yet. */
  private readonly stale = new Set<string>();
  /** The open image, which stays cached. */
  private held: string | null = null;
  /** The project on the service, and this page's unsent version of it with its key in the outbox. */
  private served: Project = { name: "", revision: 0, words: [], options: { parts: "", threshold: 0, background: null } };
  private wanted: Kept<UnsentProject> | null = null;
  private projectKey = `${this.tab} project`;
  private sequence = 0;
  private isSending = false;
  private isFollowing = false;
  private readonly ending = new AbortController();

  constructor(
    private readonly api: ProjectApi,
    database: Database,
    private readonly packer: WorkPacker,
  ) {
    super(database);
  }

  async open(): Promise<OpenedProject> {
    const served = await this.api.get();
    this.sequence = served.seq;
    this.served = served;
    await this.takeLeft();
    for (const state of served.images) this.states.set(state.image, state);
    const gone = new Map(this.outbox.map(({ unsent: { id, isRemoved } }) => [id, isRemoved]));
    const isGone = ({ image }: ImageState) => gone.get(image) === true;
    // of an image in the trash only the name is known
    const names = [...served.removed, ...served.images.filter(isGone).map(({ image }) => image)];
    const removed = names.map((name, order) => {
      const state = newState(name, { width: 1, height: 1 });
      return { ...entryOf(state, Number.MAX_SAFE_INTEGER), removed: order + 1 };
    });
    const images = served.images.filter((state) => !isGone(state)).map(entryOf);
    return { project: this.wanted?.project ?? served, images, removed };
  }

  override watch(watcher: Watcher): void {
    super.watch(watcher);
    void this.send();
    void this.repeat(() => this.listen());
  }

  async saveProject(project: Project): Promise<void> {
    const wanted = { ...project, options: { ...this.served.options, ...project.options } };
    const { base = this.served, sent } = this.wanted ?? {};
    const isServed = !sent && sameProject(wanted, this.served);
    const written = this.keepProject(isServed ? null : { base, project: wanted, change: this.id(), ...(sent && { sent }) });
    void this.send();
    return written;
  }

  add(file: File, name: string, order: number): Promise<ImageEntry> {
    const change = this.id();
    return new Promise((resolve, reject) => {
      const step = async () => {
        try {
          const state = await this.api.add(file, name, change);
          this.states.set(state.image, state);
          resolve(entryOf(state, order));
        } catch (failure) {
          if (failure instanceof TransientError) throw failure;
          reject(failure);
        }
        this.reached();
        return false;
      };
      void this.repeat(step, true);
    });
  }

  file(id: string): Promise<Blob> {
    return this.api.file(id);
  }

  thumbnail(id: string): Promise<Blob> {
    return this.api.thumbnail(id);
  }

  async work(id: string): Promise<Work> {
    const { base, work } = await this.read(id);
    // the service has no history of what can be undone
    const edits = await this.database.get("edits", id);
    const read = { base, work: edits && edits.revision === base.revision ? { ...work, edits } : work };
    const known = this.known.get(id);
    // the base of the open image changes only together with the image; a change may have been sent meanwhile
    const newest = known && known.base.revision > base.revision ? known : read;
    if (id !== this.held || !known) this.remember(id, newest);
    return withChange(newest.work, this.shown(id)?.unsent);
  }

  override hold(id: string | null): void {
    this.held = id;
  }

  async save({ id }: ImageEntry, { state, ...content }: Change): Promise<void> {
    const hasContent = Object.keys(content).length > 0;
    if (!this.shown(id) && !hasContent) return;
    const { base } = this.shown(id)?.unsent ?? this.known.get(id) ?? (await this.fetched(id));
    const waiting = this.shown(id);
    const change = hasContent || !waiting ? this.id() : waiting.unsent.change;
    if (!waiting) return this.push({ id, base, state, change, ...content }).written;
    waiting.unsent = { ...waiting.unsent, ...content, state, change };
    // the service counts pixels itself
    if (!hasContent) return;
    const written = this.write(waiting);
    void this.send();
    return written;
  }

  async saveRemoved({ id, removed, state }: ImageEntry): Promise<void> {
    const isRemoved = removed !== null;
    const waiting = this.push({ id, base: { revision: 0, corrections: empty(0) }, state, change: this.id(), isRemoved });
    await waiting.written;
    // what is put back can be opened once the service has it
    while (!isRemoved && !this.isAway.value && this.outbox.includes(waiting)) await pause(50);
  }

  async review({ id }: ImageEntry, verdict: Verdict, comment: string): Promise<void> {
    await this.sent();
    this.takeState(id, await this.api.putReview(id, verdict, comment, this.states.get(id)!.revision));
    await this.refresh(id);
  }

  async merge(word: number, into: number): Promise<void> {
    await this.sent();
    this.takeProject(await this.api.merge(word, into));
  }

  async separate(word: number, into: number): Promise<void> {
    await this.sent();
    this.takeProject(await this.api.separate(word, into));
  }

  private async sent(): Promise<void> {
    for (; this.wanted || this.waiting.value; await pause(50))
      if (this.isAway.value) throw new PageError("The service can't be reached; try again when it can.");
  }

  /** Does nothing: removed images stay in the project's trash. */
  async forget(): Promise<void> {}

  override download(path: string): Promise<Blob> {
    return this.api.download(path);
  }

  override close(): void {
    this.ending.abort();
    super.close();
  }

  private id(): string {
    return `${this.tab}-${String(++this.last).padStart(6, "0")}`;
  }

  private shown(id: string): Waiting | undefined {
    return this.outbox.find(({ isShown, unsent }) => isShown && unsent.id === id);
  }

  private async takeLeft(): Promise<void> {
    const open = await openTabs(this.tab, this.ending.signal);
    const left = (await this.database.getEntries("outbox")).filter(([key]) => !open.has(key.split(" ")[0]));
    const entries: Entry[] = [];
    this.outbox = [];
    this.wanted = null;
    for (const [old, value] of left) {
      // words of a second page are taken over by the next one
      if ("project" in value && this.wanted) continue;
      entries.push({ store: "outbox", key: old });
      if ("project" in value) this.wanted = value;
      else this.outbox.push(this.waitingOf({ ...value, change: value.change ?? this.id() }));
    }
    entries.push(...this.outbox.map(entryOfOutbox));
    if (this.wanted) entries.push({ store: "outbox", key: this.projectKey, value: this.wanted });
    await this.database.write(entries);
    this.count();
  }

  private waitingOf({ sent, ...unsent }: Kept<Unsent>): Waiting {
    const isShown = unsent.isRemoved === undefined && !this.shown(unsent.id);
    const key = `${this.tab} ${this.id()}`;
    return { key, unsent, sent: sent ?? null, written: Promise.resolve(), isShown, isParked: false };
  }

  private push(unsent: Unsent): Waiting {
    const waiting = this.waitingOf(unsent);
    this.outbox.push(waiting);
    this.count();
    void this.write(waiting).catch(() => {});
    void this.send();
    return waiting;
  }

  private write(waiting: Waiting): Promise<void> {
    return (waiting.written = this.database.write([entryOfOutbox(waiting)]));
  }

  private drop(waiting: Waiting): void {
    this.outbox = this.outbox.filter((one) => one !== waiting);
    this.count();
  }

  private count(): void {
    this.waiting.value = this.outbox.filter(({ isParked }) => !isParked).length + Number(this.wanted !== null);
  }

  private keepProject(wanted: Kept<UnsentProject> | null): Promise<void> {
    this.wanted = wanted;
    this.count();
    return this.database.write([{ store: "outbox", key: this.projectKey, ...(wanted && { value: wanted }) }]);
  }

  /** @param isChanged whether the service is known to have work, whatever the cached state says. */
  private async read(id: string, isChanged = false): Promise<Known & { readonly state: ImageState | null }> {
    const isNew = !isChanged && this.states.get(id)?.revision === 0;
    const content = isNew ? null : await this.api.work(id);
    const { vocabulary } = this.watcher?.context() ?? { vocabulary: this.served.words };
    const { state = null, work = NOTHING } = (content && (await this.packer.unpack(content, vocabulary))) ?? {};
    const size = state ?? this.states.get(id) ?? { width: 0, height: 0 };
    return { base: { revision: state?.revision ?? 0, corrections: correctionsOf(work.edits, size) }, work, state };
  }

  private async fetched(id: string): Promise<Known> {
    const known = await this.read(id);
    this.remember(id, known);
    return known;
  }

  private remember(id: string, { base, work }: Known): void {
    this.known.delete(id);
    this.known.set(id, { base, work });
    for (const other of [...this.known.keys()])
      if (this.known.size > MOST_KNOWN && other !== this.held && !this.shown(other)) this.known.delete(other);
  }

  /** Repeats a step until it returns false or the page is closed; after failures it waits, longer each time. */
  private async repeat(step: () => Promise<boolean>, isTold = false): Promise<void> {
    let wait = WAIT.first;
    while (!this.ending.signal.aborted) {
      try {
        if (!(await step())) return;
        wait = WAIT.first;
      } catch (failure) {
        if (this.ending.signal.aborted) return;
        if (isTold) {
          this.isAway.value = true;
          this.watcher!.onProblem(sentence(failure));
        }
        await pause(wait);
        wait = Math.min(2 * wait, WAIT.longest);
      }
    }
  }

  private reached(): void {
    if (!this.isAway.value) return;
    this.isAway.value = false;
    this.watcher!.onProblem(null);
  }

  /** Sends the unsent changes, words first. */
  private async send(): Promise<void> {
    if (this.isSending || !this.watcher) return;
    this.isSending = true;
    await this.repeat(async () => {
      // the oldest one, since each image's changes keep their order
      const waiting = this.outbox.find(({ isParked }) => !isParked);
      this.isSending = Boolean(this.wanted ?? waiting);
      if (this.wanted) await this.sendProject(this.wanted);
      else if (waiting) await this.deliver(waiting);
      if (this.isSending) this.reached();
      return this.isSending;
    }, true);
  }

  private async sendProject({ sent: before, ...now }: Kept<UnsentProject>): Promise<void> {
    const sent = before ?? now;
    this.wanted = { ...now, sent };
    let base = sent.base,
      current: Project;
    try {
      const { name, revision, words, options } = await this.api.put(sent.project, base.revision, sent.change);
      current = { name, revision, words, options };
      base = sent.project;
    } catch (failure) {
      if (!isPassing(failure)) delete this.wanted.sent;
      if (!(failure instanceof ConflictError)) throw failure;
      current = failure.current as Project;
    }
    // includes what was typed meanwhile
    this.watcher!.context();
    const mine = this.wanted!.project;
    const isAlone = base === sent.project && current.revision === sent.base.revision + 1;
    const { project, moved } = isAlone ? { project: mine, moved: new Map() } : rebasedProject(base, mine, current);
    this.served = current;
    for (const waiting of moved.size ? this.outbox : []) {
      waiting.unsent = { ...renumbered(waiting.unsent, moved), change: this.id() };
      void this.write(waiting).catch(() => {});
    }
    const isServed = sameProject(project, current);
    const written = this.keepProject(isServed ? null : { base: current, project, change: this.id() });
    if (!isAlone) this.watcher!.onProject(project);
    await written;
  }

  private async deliver(waiting: Waiting): Promise<void> {
    // a closed page's database knows what was sent
    await waiting.written.catch(() => {});
    if (waiting.unsent.isRemoved !== undefined) return this.deliverRemoval(waiting);
    const sent = waiting.sent ?? waiting.unsent;
    const { id, base, change } = sent;
    const known = this.known.get(id) ?? (await this.fetched(id));
    const work = withChange(known.work, sent);
    const context = this.watcher!.context();
    // it may have words that the service doesn't know yet
    if (this.wanted) return;
    const content = await this.packer.pack(sent.state, work, context);
    waiting.sent = sent;
    let state: ImageState;
    try {
      state = await this.api.putWork(id, content, base.revision, work.settled !== null, change);
    } catch (failure) {
      // what was refused isn't there
      if (!isPassing(failure)) waiting.sent = null;
      if (failure instanceof ConflictError) return this.resolve(waiting);
      if (failure instanceof MissingError) {
        // it waits until its image is put back
        waiting.isParked = true;
        this.count();
        this.reached();
        return this.watcher!.onProblem(`“${id}” was removed by somebody; put it back to go on with it.`);
      }
      const isOf = ({ unsent }: Waiting) => unsent.id === id;
      // what was refused, and what follows it in the image, comes last
      if (!isPassing(failure)) this.outbox = [...this.outbox.filter((one) => !isOf(one)), ...this.outbox.filter(isOf)];
      throw failure;
    }
    this.watcher!.context();
    // others may have gone on from it
    const isNewest = state.revision === base.revision + 1 && (this.states.get(id)?.revision ?? 0) <= state.revision;
    if (isNewest) this.stale.delete(id);
    if (!isNewest || !waiting.isShown) this.stale.add(id);
    if ((this.states.get(id)?.revision ?? 0) <= state.revision) this.states.set(id, state);
    const next = { revision: base.revision + 1, corrections: correctionsOf(work.edits, state) };
    if (waiting.isShown) this.remember(id, { base: next, work });
    const left = remaining(waiting.unsent, sent, next);
    waiting.sent = null;
    if (left) {
      waiting.unsent = left;
      return this.write(waiting);
    }
    this.drop(waiting);
    if (isNewest) this.watcher!.onState(id, state, false);
    await this.over(waiting, work, next.revision);
    void this.follow();
  }

  /** Removes a change from the outbox, and keeps what can be undone. */
  private async over({ key, unsent: { id } }: Waiting, { edits }: Work = NOTHING, revision = 0): Promise<void> {
    const gone: Entry = { store: "outbox", key };
    const hasHistory = edits && edits.done.length + edits.undone.length > 0;
    const history: Entry[] = hasHistory ? [{ store: "edits", key: id, value: { ...edits, revision } }] : [];
    // without room for the history it is lost, and nothing else
    await this.database.write([gone, ...history]).catch(() => this.database.write([gone]));
  }

  private async deliverRemoval(waiting: Waiting): Promise<void> {
    const { id, change, isRemoved } = waiting.unsent;
    try {
      await (isRemoved ? this.api.remove(id, change) : this.api.restore(id, change));
    } catch (failure) {
      // somebody was faster
      if (!(failure instanceof MissingError)) throw failure;
    }
    this.drop(waiting);
    if (!isRemoved) this.unpark(id);
    await this.over(waiting);
  }

  private unpark(id: string): void {
    for (const waiting of this.outbox) waiting.isParked &&= waiting.unsent.id !== id;
    this.count();
    void this.send();
  }

  private async resolve(waiting: Waiting): Promise<void> {
    const { id, edits, settled, state: size, base } = waiting.unsent;
    const theirs = await this.read(id, true);
    const their = correctionsOf(theirs.work.edits, size);
    const isCrowded = edits && collides(base.corrections, correctionsOf(edits, size), their);
    const isLocked = theirs.work.settled !== null && settled !== null;
    let choice: Choice = "both";
    if (!edits && isLocked) choice = "theirs";
    else if (isLocked || isCrowded)
      choice = await this.watcher!.choose({
        id,
        by: theirs.state?.by ?? null,
        isDone: isLocked,
        mine: withChange(theirs.work, waiting.unsent),
        theirs: theirs.work,
      });
    await this.idle(id);
    // from here on the user can't paint meanwhile
    const next = rebased(waiting.unsent, theirs.work, theirs.state, choice);
    if (next) waiting.unsent = { ...(isLocked && { settled: null }), ...next, change: this.id() };
    else this.drop(waiting);
    // a change that the page doesn't show doesn't hide what it shows
    if (waiting.isShown) {
      this.remember(id, theirs);
      this.watcher!.onWork(id, withChange(theirs.work, next ? waiting.unsent : undefined));
      if (!next && theirs.state) this.watcher!.onState(id, theirs.state, true);
    }
    await (next ? this.write(waiting) : this.over(waiting));
  }

  /** Waits until no stroke is in progress in an image, and all of its changes are in the outbox. */
  private async idle(id: string): Promise<void> {
    while (this.watcher!.isBusy(id)) await pause(50);
    this.watcher!.context();
  }

  private async listen(): Promise<boolean> {
    const { seq, changes, states, project } = await this.api.changes(this.sequence, this.ending.signal);
    if (project) this.takeProject(project);
    if (changes.some(({ what }) => what === "improved")) this.watcher!.onImproved();
    for (const { what, image } of changes) {
      if (what !== "removed" || !image || states[image]) continue;
      this.states.delete(image);
      this.watcher!.onRemoved(image);
    }
    for (const [name, state] of Object.entries(states)) this.takeState(name, state);
    this.sequence = seq;
    void this.follow();
    return true;
  }

  private takeProject(project: Project): void {
    this.watcher!.context();
    // this page's unsent version is rebased when it is sent
    if (project.revision <= this.served.revision || this.wanted) return;
    this.served = project;
    this.watcher!.onProject(project);
  }

  private takeState(name: string, state: ImageState): void {
    const before = this.states.get(name);
    if (before && state.revision <= before.revision) return;
    this.states.set(name, state);
    if (before) this.stale.add(name);
    else this.watcher!.onAdded(entryOf(state, Number.MAX_SAFE_INTEGER));
    this.unpark(name);
  }

  /** Shows changes of others; in images with unsent changes, both are merged when these are sent. */
  private async follow(): Promise<void> {
    if (this.isFollowing) return;
    this.isFollowing = true;
    await this.repeat(async () => {
      const name = [...this.stale].find((one) => !this.shown(one));
      this.isFollowing = name !== undefined;
      if (name !== undefined) await this.refresh(name);
      return this.isFollowing;
    });
  }

  private async refresh(name: string): Promise<void> {
    // a failure doesn't keep others waiting
    this.stale.delete(name);
    this.stale.add(name);
    const known = name === this.held ? await this.read(name) : null;
    if (known) await this.idle(name);
    else this.watcher!.context();
    const state = known?.state ?? this.states.get(name);
    if (this.shown(name)) return;
    this.stale.delete(name);
    if (known) this.remember(name, known);
    else this.known.delete(name);
    if (state) this.watcher!.onState(name, state, true);
    if (known) this.watcher!.onWork(name, known.work);
  }
}

/** Whether a failure says nothing about what was sent. */
function isPassing(failure: unknown): boolean {
  return failure instanceof TransientError || failure instanceof KeyError;
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function withChange(work: Work, { draft, edits, settled }: Partial<Change> = {}): Work {
  return {
    draft: draft ?? work.draft,
    edits: edits ?? work.edits,
    settled: settled === undefined ? work.settled : settled,
  };
}

function entryOf(state: ImageState, order: number): ImageEntry {
  return { id: state.image, order, removed: null, state };
}

function entryOfOutbox({ key, unsent, sent }: Waiting): Entry {
  // a version that the outbox has is enough
  return { store: "outbox", key, value: { ...unsent, ...(sent && sent.change !== unsent.change && { sent }) } };
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
