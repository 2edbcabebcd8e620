/** A project on a service: what the session asks of it, and hands over to be sent. */

import { PageError } from "../backend";
import { type Picture, TILED_PIXELS, TiledPicture } from "../imaging/picture";
import type { Size } from "../labels/runs";
import { pathOf, type ProjectApi, type ServedProject } from "./api";
import { Connection, pause } from "./connection";
import type { Database } from "./database";
import { Follower, isSameProject } from "./following";
import { renumbered } from "./keeping";
import { takeLeft } from "./left";
import { Outbox, type QueuedEntry, type Unsent, type UnsentProject, type UnsentRemoval, type UnsentWork } from "./outbox";
import { baseOf } from "./rebasing";
import { Sender } from "./sending";
import { imageEntry, newState, Store, withChange } from "./structure";
import type { Change, ImageEntry, ImageState, OpenedProject, Project, Verdict, Watcher, Work } from "./structure";
import type { WorkPacker } from "./work_packer";
import { mergedIds } from "./words";

const NO_CONNECTION = "No connection to the service; try again when there is one.";

export class RemoteStore extends Store {
  readonly isShared = true;
  override readonly waiting;
  override readonly refused;
  override readonly isAway;
  private readonly outbox: Outbox;
  private readonly connection: Connection;
  private readonly follower: Follower;
  private readonly sender: Sender;

  constructor(
    private readonly api: ProjectApi,
    database: Database,
    packer: WorkPacker,
    private readonly opened: ServedProject,
  ) {
    super(database);
    const keeps = database.isLasting ? "Your work is kept in this browser." : "This browser keeps nothing: leave this window open.";
    this.connection = new Connection((problem) => this.watcher!.onProblem(problem && `${problem} ${keeps}`));
    this.outbox = new Outbox(database);
    this.follower = new Follower(api, packer, this.connection, this.outbox, opened, (id) => this.sender.retryMissing(id));
    this.sender = new Sender(this.follower, this.role);
    ({ waiting: this.waiting, refused: this.refused } = this.outbox);
    this.isAway = this.connection.isAway;
  }

  async open(): Promise<OpenedProject> {
    const { follower, opened: served, outbox } = this;
    if (served.role) this.role.value = served.role;
    follower.tell(...served.problems);
    await takeLeft(this.database, follower, served.user ?? null);
    follower.renumber(mergedIds(served.words));
    for (const state of served.images) follower.take(state.id!, state);
    const isGone = ({ id }: ImageState) => outbox.isRemoved(id!);
    // of an image in the trash only the id and the name are known
    const removed = [...served.removed, ...served.images.filter(isGone)].map(({ id, image }, order) => {
      const state = { ...newState(image, { width: 1, height: 1 }), id: id! };
      return { ...imageEntry(state), removed: order + 1 };
    });
    const images = served.images.filter((state) => !isGone(state)).map(imageEntry);
    return { project: outbox.project?.unsent.project ?? served, images, removed };
  }

  override watch(watcher: Watcher): void {
    super.watch(watcher);
    this.follower.begin(watcher);
    this.sender.send();
  }

  async saveProject(project: Project): Promise<void> {
    const { served } = this.follower,
      entry = this.outbox.project;
    const wanted = { ...project, options: { ...served.options, ...project.options } };
    if (!entry?.sent && isSameProject(wanted, served)) return entry ? this.outbox.drop(entry) : undefined;
    return this.queue<UnsentProject>(entry, { kind: "project", base: entry?.unsent.base ?? served, project: wanted });
  }

  async add(file: File, name: string, order: number): Promise<ImageEntry> {
    const change = this.outbox.id();
    const state = await this.connection.answer(() => this.api.add(file, name, change));
    this.follower.take(state.id!, state);
    return imageEntry(state, order);
  }

  override async addVideo(file: File, every: number, order: number): Promise<ImageEntry[]> {
    const states = await this.api.addVideo(file, every);
    for (const state of states) this.follower.take(state.id!, state);
    return states.map((state, at) => imageEntry(state, order + at));
  }

  file(id: string): Promise<Blob> {
    return this.connection.answer(() => this.api.fileOf(id, "images"));
  }

  thumbnail(id: string): Promise<Blob> {
    return this.api.fileOf(id, "thumbnails");
  }

  override picture(entry: ImageEntry): Promise<Picture> {
    const { id, state } = entry;
    if (!isTiled(state)) return super.picture(entry);
    return TiledPicture.open(state, (level, row, column) => this.tile(id, `?level=${level}&row=${row}&column=${column}`));
  }

  override scaled(entry: ImageEntry): Promise<Blob> {
    return isTiled(entry.state) ? this.tile(entry.id) : super.scaled(entry);
  }

  /** A tile of a large image; without a place, all of it at the size at which it is labeled. */
  private tile(id: string, place?: string): Promise<Blob> {
    return this.connection.answer(() => this.api.fileOf(id, "tiles", place));
  }

  async work(id: string): Promise<Work> {
    const { follower } = this;
    const read = await this.connection.answer(() => follower.read(id));
    // the service has no history of what can be undone
    const edits = await this.database.get("edits", id);
    const isNewest = edits && edits.revision === read.revision;
    const work = isNewest ? renumbered({ ...read.work, edits }, mergedIds(follower.served.words)) : read.work;
    const known = follower.images.get(id)?.known;
    // the base of the open image changes only together with the image; a change may have been sent meanwhile
    const newest = known && known.revision > read.revision ? known : { ...read, work };
    if (id !== follower.held || !known) follower.remember(id, newest);
    return withChange(newest.work, this.outbox.shown(id)?.unsent);
  }

  override hold(id: string | null): void {
    this.follower.hold(id);
  }

  async save({ id }: ImageEntry, { state, ...content }: Change): Promise<void> {
    // at once if it can be, since a removal comes after it
    const known = this.outbox.shown(id) ? null : (this.follower.images.get(id)?.known ?? (await this.follower.known(id)));
    const entry = this.outbox.shown(id);
    const before = entry?.unsent ?? { kind: "work" as const, image: id, base: baseOf(known!.revision, known!.work.edits, state) };
    return this.queue<UnsentWork>(entry, { ...before, ...content, state });
  }

  async saveRemoved({ id, removed, state }: ImageEntry): Promise<void> {
    const isRemoved = removed !== null;
    await this.queue<UnsentRemoval>(null, { kind: "removal", image: id, state, isRemoved });
    // what is put back can be opened once the service has it
    const isWaiting = () => this.outbox.of(id).some(({ unsent, refused }) => unsent.kind === "removal" && refused === null);
    while (!isRemoved && isWaiting()) await pause(50);
  }

  async review({ id }: ImageEntry, verdict: Verdict, comment: string): Promise<void> {
    this.checkReady();
    const { revision } = this.follower.images.get(id)!.state,
      change = this.outbox.id();
    this.follower.takeState(id, await this.connection.answer(() => this.api.json("PUT", pathOf("review", id), { revision, change, body: { verdict, comment } })));
    await this.connection.answer(() => this.follower.show(id));
  }

  async merge(word: number, into: number): Promise<void> {
    this.checkReady();
    const change = this.outbox.id();
    await this.follower.takeProject(await this.connection.answer(() => this.api.json<Project>("POST", "/merged", { change, body: { word, into } })));
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

  /** Empties the project's trash. */
  async forget(): Promise<void> {
    this.checkReady();
    await this.connection.answer(() => this.api.json("DELETE", "/removed"));
  }

  override close(): void {
    this.connection.close();
    super.close();
  }

  /** Sends what was refused again. */
  retry(entry: QueuedEntry): void {
    if (entry.unsent.kind === "removal" && entry.unsent.isRemoved) this.watcher!.onRemoved(entry.unsent.image);
    this.sender.retry(entry);
  }

  /** Gives up what was refused: the image or the words are what the service has then. */
  async discard(entry: QueuedEntry): Promise<void> {
    const { unsent } = entry;
    await this.outbox.drop(entry);
    if (unsent.kind === "project") this.watcher!.onProject(this.follower.served);
    const record = unsent.kind === "work" && this.follower.images.get(unsent.image);
    if (!record) return;
    record.isStale = true;
    this.follower.follow(unsent.image);
  }

  /** The work on an image with what was refused of it. */
  async workWith(unsent: UnsentWork): Promise<Work> {
    return withChange((await this.follower.known(unsent.image)).work, unsent);
  }

  private queue<Kind extends Unsent>(entry: QueuedEntry<Kind> | null, unsent: Omit<Kind, "change">): Promise<void> {
    const written = this.outbox.put(entry, unsent, this.opened.user ?? this.api.user);
    this.sender.send();
    return written;
  }
}

function isTiled({ width, height }: Size): boolean {
  return width * height > TILED_PIXELS;
}
