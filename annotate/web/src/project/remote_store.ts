/**
 * A project on a service. Changes are first stored in an outbox in the browser's database, so that neither a closed page
 * nor a stopped service loses them. Each has an id by which the service makes it once, however often it is sent.
 */

import { PageError, RoleError, sentence } from "../backend";
import { type Picture, TILED_PIXELS, TiledPicture } from "../imaging/picture";
import { idsOf } from "../labels/edits";
import { textOf } from "../labels/labeling";
import { unpacked } from "../labels/layer";
import type { Size } from "../labels/runs";
import { firstName } from "../labels/synonyms";
import { ConflictError, isPassing, MissingError, type ProjectApi, type ServedProject } from "./api";
import { Connection, pause } from "./connection";
import type { Database, Entry } from "./database";
import { Outbox, type QueuedEntry, queueOf, type Unsent, type UnsentProject, type UnsentWork } from "./outbox";
import { baseOf, changedRows, collides, type Known, rebased, rebasedProject, remaining, wordsOf } from "./rebasing";
import { renumbered } from "./keeping";
import { newState, NO_WORK, ROLES, Store, withChange } from "./structure";
import type { Change, Choice, ImageEntry, ImageState, OpenedProject, Project, Refusal, Verdict, Watcher, Work } from "./structure";
import type { WorkPacker } from "./work_packer";
import { entryOf, mergedIds, type RebasedWords } from "./words";

const NO_CONNECTION = "No connection to the service; try again when there is one.";

/** Max images whose work on the service is cached, to tell this page's changes from those of others. */
const MOST_KNOWN = 8;

const MOST_NOTICES = 8;

export class RemoteStore extends Store {
  readonly isShared = true;
  private readonly tab = `${Date.now()}-${Math.random()}`;
  private last = 0;
  /** Unsent changes of this page and of closed ones. */
  private readonly outbox = new Outbox();
  private readonly writes = new WeakMap<QueuedEntry, Promise<void>>();
  private readonly known = new Map<string, Known>();
  /** The newest known state of each image on the service. */
  private readonly states = new Map<string, ImageState>();
  private readonly notRenamed: RebasedWords["notRenamed"][number][] = [];
  /** Images that others changed, which the page doesn't show yet. */
  private readonly stale = new Set<string>();
  /** The open image, which stays cached. */
  private held: string | null = null;
  private sequence = 0;
  /** The project on the service. */
  private served: Project;
  /** What the reader is told first. */
  private readonly notices: string[] = [];
  private isSending = false;
  private isFollowing = false;
  private readonly connection = new Connection((problem) => this.watcher!.onProblem(problem && `${problem} ${this.keeps}`));
  override readonly isAway = this.connection.isAway;

  constructor(
    private readonly api: ProjectApi,
    database: Database,
    private readonly packer: WorkPacker,
    private readonly opened: ServedProject,
  ) {
    super(database);
    this.served = opened;
  }

  get isLasting(): boolean {
    return this.database.isLasting;
  }

  private get keeps(): string {
    return this.isLasting ? "Your work is kept in this browser." : "This browser keeps nothing: leave this window open.";
  }

  async open(): Promise<OpenedProject> {
    const served = this.opened;
    this.sequence = served.seq;
    if (served.role) this.role.value = served.role;
    this.notices.push(...served.problems);
    // of tabs that are opened at once, one takes it
    await (navigator.locks ? navigator.locks.request("segvoc left", () => this.takeLeft()) : this.takeLeft());
    this.renumber(mergedIds(served.words));
    for (const state of served.images) this.states.set(state.id!, state);
    const isGone = ({ id }: ImageState) => this.outbox.isRemoved(id!);
    // of an image in the trash only the id and the name are known
    const removed = [...served.removed, ...served.images.filter(isGone)].map(({ id, image }, order) => {
      const state = { ...newState(image, { width: 1, height: 1 }), id: id! };
      return { ...imageEntry(state, Number.MAX_SAFE_INTEGER), removed: order + 1 };
    });
    const images = served.images.filter((state) => !isGone(state)).map(imageEntry);
    return { project: this.outbox.project?.unsent.project ?? served, images, removed };
  }

  override watch(watcher: Watcher): void {
    super.watch(watcher);
    this.reportNames();
    if (this.notices.length) watcher.onProblem(this.notices.slice(0, MOST_NOTICES).join("\n"));
    void this.send();
    void this.connection.repeat(() => this.listen());
  }

  async saveProject(project: Project): Promise<void> {
    const wanted = { ...project, options: { ...this.served.options, ...project.options } };
    const entry = this.outbox.project;
    if (!entry?.sent && isSameProject(wanted, this.served)) return entry ? this.drop(entry) : undefined;
    const { base = this.served } = entry?.unsent ?? {};
    return this.queue(entry, { kind: "project", base, project: wanted, change: this.id() });
  }

  async add(file: File, name: string, order: number): Promise<ImageEntry> {
    const change = this.id();
    const state = await this.connection.answer(() => this.api.add(file, name, change));
    this.states.set(state.id!, state);
    return imageEntry(state, order);
  }

  file(id: string): Promise<Blob> {
    return this.connection.answer(() => this.api.file(id));
  }

  thumbnail(id: string): Promise<Blob> {
    return this.api.thumbnail(id);
  }

  override picture(entry: ImageEntry): Promise<Picture> {
    const { id, state } = entry;
    if (!isTiled(state)) return super.picture(entry);
    const read = (level: number, row: number, column: number) => this.connection.answer(() => this.api.tile(id, { level, row, column }));
    return TiledPicture.open(state, read);
  }

  override scaled(entry: ImageEntry): Promise<Blob> {
    return isTiled(entry.state) ? this.connection.answer(() => this.api.tile(entry.id)) : super.scaled(entry);
  }

  async work(id: string): Promise<Work> {
    const { base, work, rule } = await this.connection.answer(() => this.read(id));
    // the service has no history of what can be undone
    const edits = await this.database.get("edits", id);
    const read = { base, rule, work: edits && edits.revision === base.revision ? renumbered({ ...work, edits }, mergedIds(this.served.words)) : work };
    const known = this.known.get(id);
    // the base of the open image changes only together with the image; a change may have been sent meanwhile
    const newest = known && known.base.revision > base.revision ? known : read;
    if (id !== this.held || !known) this.remember(id, newest);
    return withChange(newest.work, this.outbox.shown(id)?.unsent);
  }

  override hold(id: string | null): void {
    this.held = id;
  }

  async save({ id }: ImageEntry, { state, ...content }: Change): Promise<void> {
    const hasContent = Object.keys(content).length > 0;
    if (!this.outbox.shown(id) && !hasContent) return;
    const { base } = this.outbox.shown(id)?.unsent ?? this.known.get(id) ?? (await this.fetched(id));
    const entry = this.outbox.shown(id);
    if (entry && !hasContent) {
      // the service counts pixels itself
      entry.unsent = { ...entry.unsent, state };
      return;
    }
    const before = entry?.unsent ?? { kind: "work", image: id, base };
    return this.queue(entry, { ...before, ...content, state, change: this.id() });
  }

  async saveRemoved({ id, removed, state }: ImageEntry): Promise<void> {
    const isRemoved = removed !== null;
    await this.queue(null, { kind: "removal", image: id, state, change: this.id(), isRemoved });
    // what is put back can be opened once the service has it
    const isWaiting = () => this.outbox.of(id).some(({ unsent, refused }) => unsent.kind === "removal" && refused === null);
    while (!isRemoved && isWaiting()) await pause(50);
  }

  async review({ id }: ImageEntry, verdict: Verdict, comment: string): Promise<void> {
    this.checkReady();
    const { revision } = this.states.get(id)!,
      change = this.id();
    this.takeState(id, await this.connection.answer(() => this.api.putReview(id, verdict, comment, revision, change)));
    await this.refresh(id);
  }

  async merge(word: number, into: number): Promise<void> {
    this.checkReady();
    const change = this.id();
    this.takeProject(await this.connection.answer(() => this.api.merge(word, into, change)));
  }

  override async sent(): Promise<void> {
    for (; this.waiting.value; await pause(50))
      if (this.isAway.value) throw new PageError(NO_CONNECTION);
  }

  /** What can't wait in the outbox needs the service now. */
  private checkReady(): void {
    if (this.isAway.value) throw new PageError(NO_CONNECTION);
    if (this.refused.value.length) throw new PageError("The service refused changes, which the top of the page lists; settle them first.");
  }

  /** Does nothing: removed images stay in the project's trash. */
  async forget(): Promise<void> {}

  override download(path: string): Promise<Blob> {
    return this.api.download(path);
  }

  override close(): void {
    this.connection.close();
    super.close();
  }

  override retry({ key }: Refusal): void {
    const entry = this.refusedEntry(key);
    entry.refused = null;
    if (entry.unsent.kind === "removal" && entry.unsent.isRemoved) this.watcher!.onRemoved(entry.unsent.image);
    void this.write(entry).catch(() => {});
    void this.send();
  }

  override async discard({ key }: Refusal): Promise<void> {
    const entry = this.refusedEntry(key),
      { unsent } = entry;
    await this.drop(entry);
    if (unsent.kind === "project") this.watcher!.onProject(this.served);
    if (unsent.kind !== "work") return;
    this.stale.add(unsent.image);
    void this.follow();
  }

  override async refusedWork({ key }: Refusal): Promise<Change> {
    const { unsent } = this.refusedEntry(key);
    if (unsent.kind !== "work") throw new Error("it is no work on an image");
    const known = this.known.get(unsent.image) ?? (await this.fetched(unsent.image));
    return { state: unsent.state, ...withChange(known.work, unsent) };
  }

  private refusedEntry(key: string): QueuedEntry {
    return this.outbox.entries.find((entry) => entry.key === key)!;
  }

  private id(): string {
    return `${this.tab}-${String(++this.last).padStart(6, "0")}`;
  }

  /** Takes over what closed tabs left in the database. */
  private async takeLeft(): Promise<void> {
    const open = await openTabs(this.tab, this.connection.signal);
    const all = (await this.database.getEntries("outbox")).filter(([key]) => !open.has(tabOf(key)));
    // what somebody else's key made waits for that
    const { user } = this.opened;
    const left = all.filter(([, { by }]) => !user || by === user);
    for (const name of new Set(all.flatMap(([, { by }]) => (user && by !== user ? [by] : []))))
      this.notices.push(`Changes of “${name}” wait in this browser: they are sent when the page is opened with that key.`);
    const entries: Entry[] = left.map(([key]) => ({ store: "outbox", key }));
    const isProject = ([, { unsent }]: (typeof left)[number]) => unsent.kind === "project";
    /** Ids that words of a second tab have now, by that tab. */
    const moved = new Map<string, ReadonlyMap<number, number>>();
    for (const [key, kept] of left.filter(isProject)) {
      const first = this.outbox.project;
      if (!first) this.outbox.add(this.key(), kept);
      else {
        const { base, project } = kept.unsent as UnsentProject;
        const both = rebasedProject(base, project, first.unsent.project);
        moved.set(tabOf(key), both.moved);
        this.notRenamed.push(...both.notRenamed);
        this.outbox.amend(first, { ...first.unsent, project: both.project, change: this.id() });
      }
    }
    for (const [key, { unsent, ...kept }] of left.filter((one) => !isProject(one))) {
      const ids = unsent.kind === "work" && moved.get(tabOf(key));
      this.outbox.add(this.key(), { ...kept, unsent: ids ? { ...renumbered(unsent, ids), change: this.id() } : unsent });
    }
    entries.push(...this.outbox.entries.map(keptEntry));
    await this.database.write(entries);
    this.count();
  }

  private key(): string {
    return `${this.tab} ${this.id()}`;
  }

  /** Puts a change in the outbox, in place of an earlier version of it if there is one, and sends it. */
  private queue<Kind extends Unsent>(entry: QueuedEntry<Kind> | null, unsent: Kind): Promise<void> {
    if (entry) this.outbox.amend(entry, unsent);
    const written = this.write(entry ?? this.outbox.add(this.key(), { unsent, sent: null, refused: null, by: this.opened.user ?? this.api.user }));
    this.count();
    void this.send();
    return written;
  }

  private write(entry: QueuedEntry): Promise<void> {
    const written = this.database.write([keptEntry(entry)]);
    this.writes.set(entry, written);
    return written;
  }

  /** Removes a change from the outbox, and keeps what can be undone. */
  private async drop(entry: QueuedEntry, { edits }: Work = NO_WORK, revision = 0): Promise<void> {
    this.outbox.drop(entry);
    this.count();
    const gone: Entry = { store: "outbox", key: entry.key };
    const hasHistory = edits && edits.done.length + edits.undone.length > 0;
    const history: Entry[] = hasHistory ? [{ store: "edits", key: queueOf(entry.unsent), value: { ...edits, revision } }] : [];
    // without room for the history it is lost, and nothing else
    await this.database.write([gone, ...history]).catch(() => this.database.write([gone]));
  }

  private count(): void {
    this.waiting.value = this.outbox.waiting;
    this.refused.value = this.outbox.refusals;
  }

  /** @param isChanged whether the service is known to have work, whatever the cached state says. */
  private async read(id: string, isChanged = false): Promise<Known & { readonly state: ImageState | null }> {
    const isNew = !isChanged && this.states.get(id)?.revision === 0;
    const content = isNew ? null : await this.api.work(id);
    const { vocabulary, rule = null } = this.watcher?.context() ?? { vocabulary: this.served.words };
    const found = content && (await this.packer.unpack(content, vocabulary, rule));
    const { state = null, work = NO_WORK, ids = [], madeBy = null } = found ?? {};
    await this.knowWords(ids);
    const size = state ?? this.states.get(id) ?? { width: 0, height: 0 };
    const base = baseOf(state?.revision ?? 0, work.edits, size);
    return { base, work, state, rule: madeBy };
  }

  /** Gets the words of work of others before it is shown, so that no new word of this page has their ids. */
  private async knowWords(ids: readonly number[]): Promise<void> {
    if (ids.every((id) => this.served.words.some((word) => word.id === id))) return;
    const { name, revision, words, options } = await this.api.get();
    const current = { name, revision, words, options };
    this.watcher?.context();
    const { project } = this.outbox;
    if (project) await this.goOnFrom(current, project, project.unsent.base);
    else this.takeProject(current);
  }

  private async fetched(id: string): Promise<Known> {
    const known = await this.read(id);
    this.remember(id, known);
    return known;
  }

  private remember(id: string, { base, work, rule }: Known): void {
    this.known.delete(id);
    this.known.set(id, { base, work, rule });
    for (const other of [...this.known.keys()])
      if (this.known.size > MOST_KNOWN && other !== this.held && !this.outbox.shown(other)) this.known.delete(other);
  }

  /** Sends the unsent changes. */
  private async send(): Promise<void> {
    if (this.isSending || !this.watcher) return;
    this.isSending = true;
    await this.connection.repeat(async () => {
      const entry = this.outbox.next((unsent) => this.hasWords(unsent));
      this.isSending = entry !== null;
      if (!entry) return false;
      try {
        // a closed page's database knows what was sent
        await this.writes.get(entry)?.catch(() => {});
        await this.deliver(entry);
      } catch (failure) {
        if (isPassing(failure)) {
          this.outbox.postpone(entry);
          throw failure;
        }
        this.refuse(entry, failure);
      }
      this.connection.reached();
      return true;
    }, true);
  }

  /** Whether the service has the words of a change; those that it refused may still come. */
  private hasWords(unsent: Unsent): boolean {
    const { project } = this.outbox;
    if (!project || unsent.kind !== "work") return true;
    const ids = new Set(this.served.words.map(({ id }) => id));
    const { options, words } = project.unsent.project;
    const background = options.background === null ? undefined : entryOf(words, options.background);
    return (!background || ids.has(background.id)) && wordsOf(unsent).every((id) => ids.has(id));
  }

  private deliver(entry: QueuedEntry): Promise<void> {
    const { kind } = entry.unsent;
    if (kind === "project") return this.deliverProject(entry as QueuedEntry<UnsentProject>);
    return kind === "work" ? this.deliverWork(entry as QueuedEntry<UnsentWork>) : this.deliverRemoval(entry);
  }

  private refuse(entry: QueuedEntry, failure: unknown): void {
    const { unsent } = entry;
    if (failure instanceof RoleError) {
      const needed = unsent.kind === "removal" && unsent.isRemoved ? "administer" : "annotate";
      this.role.value = ROLES[ROLES.indexOf(needed) - 1];
    }
    const isGone = failure instanceof MissingError && unsent.kind === "work";
    // what a model found can be found again
    if (isGone && !unsent.edits && unsent.settled === undefined) return void this.drop(entry).catch(() => {});
    const reason = isGone ? `“${unsent.state.image}” was removed by somebody; put it back to go on with it.` : sentence(failure);
    entry.refused = reason;
    this.count();
    void this.write(entry).catch(() => {});
    if (unsent.kind !== "removal") return;
    // the service still has it, or doesn't
    if (unsent.isRemoved) this.watcher!.onAdded(imageEntry(this.states.get(unsent.image) ?? unsent.state, Number.MAX_SAFE_INTEGER));
    else this.watcher!.onRemoved(unsent.image);
  }

  private async deliverProject(entry: QueuedEntry<UnsentProject>): Promise<void> {
    const isAgain = entry.sent !== null;
    const sent = (entry.sent ??= entry.unsent);
    let base = sent.base,
      current: Project;
    try {
      const { name, revision, words, options } = await this.api.as(entry.by).put(sent.project, base.revision, sent.change);
      current = { name, revision, words, options };
      base = sent.project;
    } catch (failure) {
      if (isAbsent(failure, isAgain)) entry.sent = null;
      if (!(failure instanceof ConflictError)) throw failure;
      current = failure.current as Project;
    }
    // includes what was typed meanwhile
    this.watcher!.context();
    entry.sent = null;
    await this.goOnFrom(current, entry, base);
  }

  /** Puts this page's unsent version of the project on top of what the service has now. @param base what it was made from. */
  private async goOnFrom(current: Project, entry: QueuedEntry<UnsentProject>, base: Project): Promise<void> {
    const { project, moved: added, notRenamed } = rebasedProject(base, entry.unsent.project, current);
    const moved = new Map([...added, ...this.mergedSince(current)]);
    this.served = current;
    this.notRenamed.push(...notRenamed);
    this.renumber(moved);
    entry.unsent = { kind: "project", base: current, project, change: this.id() };
    const written = isSameProject(project, current) ? this.drop(entry) : this.write(entry);
    this.watcher?.onProject(project, moved);
    this.reportNames();
    await written;
  }

  /** The ids of words that were merged since this page heard of the project's words. */
  private mergedSince({ words }: Project): Map<number, number> {
    const known = mergedIds(this.served.words);
    return new Map([...mergedIds(words)].filter(([id, into]) => known.get(id) !== into));
  }

  /** Gives words other ids in what isn't sent, and in what is known of images. */
  private renumber(ids: ReadonlyMap<number, number>): void {
    if (!ids.size) return;
    for (const [id, known] of this.known) this.known.set(id, { ...renumbered(known, ids), work: renumbered(known.work, ids) });
    for (const entry of this.outbox.entries) {
      if (entry.unsent.kind !== "work") continue;
      const { corrections } = entry.unsent.base;
      if (![...wordsOf(entry.unsent), ...idsOf(unpacked(corrections))].some((id) => ids.has(id))) continue;
      this.outbox.amend(entry, { ...renumbered(entry.unsent, ids), change: this.id() });
      void this.write(entry).catch(() => {});
    }
  }

  /** Reports words that couldn't be renamed. */
  private reportNames(): void {
    if (!this.watcher || !this.notRenamed.length) return;
    this.connection.reached();
    for (const { from, to } of this.notRenamed.splice(0)) {
      const [old, taken] = [firstName(from), firstName(to)];
      this.watcher.onProblem(`“${old}” keeps its name: another word is “${taken}” by now. Rename “${old}” again to merge the two.`);
    }
  }

  private async deliverWork(entry: QueuedEntry<UnsentWork>): Promise<void> {
    const sent = entry.sent ?? entry.unsent;
    const { image: id, base, change } = sent;
    const known = this.known.get(id) ?? (await this.fetched(id));
    const work = withChange(known.work, sent);
    const context = this.watcher!.context();
    // it may have words that the service doesn't know yet
    if (!this.hasWords(sent)) return;
    // what the model found is there unless it changed
    const hasDraft = Boolean(sent.draft) || base.revision === 0;
    const rule = textOf(context.rule);
    const rows = hasDraft || known.rule !== rule ? null : changedRows(known, sent, work);
    const content = await this.packer.pack(sent.state, work, context, hasDraft, rows);
    const isAgain = entry.sent !== null;
    entry.sent = sent;
    let state: ImageState;
    try {
      state = await this.api.as(entry.by).putWork(id, content, base.revision, work.settled !== null, hasDraft, change, rows);
    } catch (failure) {
      if (isAbsent(failure, isAgain)) entry.sent = null;
      if (failure instanceof ConflictError) return void this.resolved(entry);
      throw failure;
    }
    this.watcher!.context();
    // others may have gone on from it
    const isNewest = state.change === change && (this.states.get(id)?.revision ?? 0) <= state.revision;
    if (isNewest) this.stale.delete(id);
    if (!isNewest || !entry.isShown) this.stale.add(id);
    if ((this.states.get(id)?.revision ?? 0) <= state.revision) this.states.set(id, state);
    // of an older one the number isn't known: what is left is put together with theirs
    const next = baseOf(isNewest ? state.revision : base.revision, work.edits, state);
    if (entry.isShown) this.remember(id, { base: next, work, rule });
    const left = remaining(entry.unsent, sent, next);
    entry.sent = null;
    if (left) {
      this.outbox.amend(entry, left);
      return this.write(entry);
    }
    const dropped = this.drop(entry, work, next.revision);
    if (isNewest) this.watcher!.onState(id, state, false);
    await dropped;
    void this.follow();
  }

  private async deliverRemoval(entry: QueuedEntry): Promise<void> {
    const { change, image, isRemoved } = entry.unsent as Extract<Unsent, { kind: "removal" }>;
    const api = this.api.as(entry.by);
    try {
      if (isRemoved) await api.remove(image, change);
      else this.takeRestored(await api.restore(image, change));
    } catch (failure) {
      // somebody was faster
      if (!(failure instanceof MissingError)) throw failure;
    }
    const dropped = this.drop(entry);
    if (!isRemoved) this.retryMissing(image);
    await dropped;
  }

  /** What was in the trash, of which only the name is known, has its size and labels again. */
  private takeRestored(state: ImageState): void {
    this.states.set(state.id!, state);
    this.watcher!.onState(state.id!, state, true);
  }

  /** Sends work again that was refused while its image was in the trash. */
  private retryMissing(image: string): void {
    for (const entry of this.outbox.of(image)) if (entry.unsent.kind === "work") entry.refused = null;
    this.count();
    void this.send();
  }

  /** Puts a change together with what others made of its image; other images don't wait for that. */
  private async resolved(entry: QueuedEntry<UnsentWork>): Promise<void> {
    const { image } = entry.unsent;
    this.outbox.held.add(image);
    try {
      await this.resolve(entry);
    } catch (failure) {
      if (!this.connection.signal.aborted) this.refuse(entry, failure);
    }
    this.outbox.held.delete(image);
    void this.send();
    void this.follow();
  }

  private async resolve(entry: QueuedEntry<UnsentWork>): Promise<void> {
    const { image: id, edits, settled, base } = entry.unsent;
    const theirs = await this.connection.answer(() => this.read(id, true));
    const their = baseOf(theirs.base.revision, theirs.work.edits, entry.unsent.state);
    const isCrowded = edits && collides(base, edits, their);
    const isLocked = theirs.work.settled !== null && settled !== null;
    let choice: Choice = "both";
    if (!edits && isLocked) choice = "theirs";
    else if (isLocked || isCrowded)
      choice = await this.watcher!.choose({
        id,
        by: theirs.state?.by ?? null,
        isDone: isLocked,
        mine: withChange(theirs.work, entry.unsent),
        theirs: theirs.work,
      });
    await this.idle(id);
    // from here on the user can't paint meanwhile
    const next = rebased(entry.unsent, theirs.work, theirs.state, choice);
    if (next) this.outbox.amend(entry, { ...(isLocked && { settled: null }), ...next, change: this.id() });
    const written = next ? this.write(entry) : this.drop(entry);
    // a change that the page doesn't show doesn't hide what it shows
    if (entry.isShown) {
      this.remember(id, { ...theirs, base: their });
      this.watcher!.onWork(id, withChange(theirs.work, next ? entry.unsent : undefined));
      if (!next && theirs.state) this.watcher!.onState(id, theirs.state, true);
    }
    await written;
  }

  /** Waits until no stroke is in progress in an image, and all of its changes are in the outbox. */
  private async idle(id: string): Promise<void> {
    while (this.watcher!.isBusy(id)) await pause(50);
    this.watcher!.context();
  }

  private async listen(): Promise<boolean> {
    const { seq, changes, states, project, restart } = await this.api.changes(this.sequence, this.connection.signal);
    if (restart) return this.restart();
    if (project) this.takeProject(project);
    if (changes.some(({ what }) => what === "improved")) this.watcher!.onImproved();
    if (changes.some(({ what }) => what === "emptied")) this.watcher!.onEmptied();
    for (const { what, image_id: id } of changes) if (what === "removed" && id && !states[id]) this.takeRemoved(id);
    for (const [id, state] of Object.entries(states)) this.takeState(id, state);
    this.sequence = seq;
    void this.follow();
    return true;
  }

  /** Older files were put back on the service: what holds there is taken over, whatever its number. */
  private async restart(): Promise<boolean> {
    const { seq, images, name, revision, words, options } = await this.api.get();
    this.sequence = seq;
    this.served = { ...this.served, revision: 0 };
    this.takeProject({ name, revision, words, options });
    const now = new Map(images.map((state) => [state.id!, state]));
    for (const id of [...this.states.keys()]) if (!now.has(id)) this.takeRemoved(id);
    for (const [id, state] of now) {
      if (this.states.get(id)?.revision !== state.revision) this.known.delete(id);
      this.takeState(id, state, true);
    }
    void this.follow();
    return true;
  }

  private takeRemoved(id: string): void {
    this.states.delete(id);
    this.watcher!.onRemoved(id);
  }

  private takeProject(project: Project): void {
    this.watcher?.context();
    // this page's unsent version is rebased when it is sent
    if (project.revision <= this.served.revision || this.outbox.project) return;
    const moved = this.mergedSince(project);
    this.served = project;
    this.renumber(moved);
    this.watcher?.onProject(project, moved);
  }

  private takeState(name: string, state: ImageState, isBack = false): void {
    const before = this.states.get(name);
    if (before && state.revision < before.revision && !isBack) return;
    this.states.set(name, state);
    if (before?.revision === state.revision) {
      // who labels it may be another
      if (before.person !== state.person && !this.outbox.shown(name)) this.watcher!.onState(name, state, false);
      return;
    }
    if (before) this.stale.add(name);
    else this.watcher!.onAdded(imageEntry(state, Number.MAX_SAFE_INTEGER));
    if (!before) this.retryMissing(name);
  }

  /** Shows changes of others; in images with unsent changes, both are merged when these are sent. */
  private async follow(): Promise<void> {
    if (this.isFollowing) return;
    this.isFollowing = true;
    await this.connection.repeat(async () => {
      const name = [...this.stale].find((one) => !this.outbox.shown(one));
      this.isFollowing = name !== undefined;
      if (name !== undefined) await this.refresh(name);
      return this.isFollowing;
    });
  }

  private async refresh(name: string): Promise<void> {
    // a failure doesn't keep others waiting
    this.stale.delete(name);
    this.stale.add(name);
    const before = this.states.get(name);
    const known = name === this.held ? await this.read(name) : null;
    if (known) await this.idle(name);
    else this.watcher!.context();
    // an image that changed again meanwhile is read again
    if (this.outbox.shown(name) || this.states.get(name) !== before) return;
    const state = known?.state ?? before;
    this.stale.delete(name);
    if (known) this.remember(name, known);
    else this.known.delete(name);
    if (state) this.watcher!.onState(name, state, true);
    if (known) this.watcher!.onWork(name, known.work);
  }
}

/** Whether what was sent isn't on the service; if it was sent before, a refusal doesn't say so. */
function isAbsent(failure: unknown, isAgain: boolean): boolean {
  return failure instanceof ConflictError || (!isAgain && !isPassing(failure));
}

function isTiled({ width, height }: Size): boolean {
  return width * height > TILED_PIXELS;
}

function imageEntry(state: ImageState, order: number): ImageEntry {
  return { id: state.id!, order, removed: null, state };
}

/** The tab that wrote an entry of the database. */
function tabOf(key: string): string {
  return key.split(" ")[0];
}

function keptEntry({ key, unsent, sent, refused, by }: QueuedEntry): Entry {
  // a version that the outbox has is enough
  return { store: "outbox", key, value: { unsent, sent: sent?.change === unsent.change ? null : sent, refused, by } };
}

function isSameProject(one: Project, other: Project): boolean {
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
