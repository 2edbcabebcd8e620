/** What a page knows of a project on a service, its words and a record of each image; hears what others change, and shows it. */

import { firstName } from "../labels/synonyms";
import type { ProjectApi, ServedProject } from "./api";
import { type Connection, Loop, pause } from "./connection";
import { renumbered } from "./keeping";
import type { Outbox } from "./outbox";
import { type Known, rebasedProject } from "./rebasing";
import { type ImageState, imageEntry, NO_WORK, type Project, type Watcher } from "./structure";
import type { WorkPacker } from "./work_packer";
import { mergedIds, type RebasedWords } from "./words";

/** Max images whose work on the service is cached, to tell this page's changes from those of others. */
const MOST_KNOWN = 8;

const MOST_NOTICES = 8;

interface ImageRecord {
  /** The newest known state on the service. */
  state: ImageState;
  /** Its work on the service; null: it isn't cached. */
  known: Known | null;
  /** Whether others changed it, which the page doesn't show yet. */
  isStale: boolean;
}

export class Follower {
  watcher: Watcher | null = null;
  /** By id, without those in the trash; images whose work was used last are at the end. */
  readonly images = new Map<string, ImageRecord>();
  /** The words and options on the service. */
  served: Project;
  /** The open image, whose work stays cached. */
  held: string | null = null;
  private sequence: number;
  /** What the reader is told, as soon as there is a page. */
  private notices: string[] = [];
  /** Shows changes of the open image. */
  private readonly showing: Loop;

  constructor(
    readonly api: ProjectApi,
    readonly packer: WorkPacker,
    readonly connection: Connection,
    readonly outbox: Outbox,
    served: ServedProject,
    /** Called with an image that is there again. */
    private readonly onBack: (id: string) => void,
  ) {
    this.served = projectOf(served);
    this.sequence = served.seq;
    this.showing = new Loop(connection, async () => this.held !== null && this.show(this.held));
  }

  begin(watcher: Watcher): void {
    this.watcher = watcher;
    this.tell();
    void this.connection.repeat(() => this.listen());
  }

  take(id: string, state: ImageState): void {
    this.images.set(id, { state, known: null, isStale: false });
  }

  /** What the service has of an image, read if it isn't cached. */
  async known(id: string): Promise<Known> {
    return this.images.get(id)?.known ?? this.remember(id, await this.read(id));
  }

  remember(id: string, known: Known): Known {
    const record = this.images.get(id);
    if (!record) return known;
    record.known = known;
    this.images.delete(id);
    this.images.set(id, record);
    const others = [...this.images].filter(([other, one]) => one.known && other !== this.held && !this.outbox.shown(other));
    for (const [, one] of others.slice(0, -MOST_KNOWN)) one.known = null;
    return known;
  }

  /** @param isChanged whether the service is known to have work, whatever the known state says. */
  async read(id: string, isChanged = false): Promise<Known & { readonly state?: ImageState }> {
    const record = this.images.get(id);
    const content = isChanged || record?.state.revision !== 0 ? await this.api.work(id) : null;
    const { vocabulary, rule = null } = this.watcher?.context() ?? { vocabulary: this.served.words };
    const found = content && (await this.packer.unpack(content, vocabulary, rule));
    const { state, work = NO_WORK, ids = [], madeBy = null } = found ?? {};
    // words of others come before what is painted with them, so that no new word of this page has their ids
    if (!ids.every((one) => this.served.words.some((word) => word.id === one))) {
      const served = await this.api.get();
      this.watcher?.context();
      await this.takeProject(served, this.outbox.project?.unsent.base);
    }
    return { revision: state?.revision ?? 0, work, rule: madeBy, ...(state && { state }) };
  }

  /** @param base what this page's unsent version was made from, which goes on top; without it, that is done when it is sent. */
  async takeProject(served: Project, base?: Project): Promise<void> {
    // includes what was typed meanwhile
    this.watcher?.context();
    const entry = this.outbox.project,
      current = projectOf(served);
    if (entry ? !base : current.revision <= this.served.revision) return;
    const mine = entry && rebasedProject(base!, entry.unsent.project, current);
    const before = mergedIds(this.served.words);
    const merged = [...mergedIds(current.words)].filter(([id, into]) => before.get(id) !== into);
    const moved = new Map([...(mine?.moved ?? []), ...merged]);
    const project = mine?.project ?? current;
    this.served = current;
    this.renumber(moved);
    let written;
    if (entry) {
      entry.unsent = { kind: "project", base: current, project, change: this.outbox.id() };
      written = isSameProject(project, current) ? this.outbox.drop(entry) : this.outbox.write(entry);
    }
    this.watcher?.onProject(project, moved);
    this.tell(...(mine?.notRenamed ?? []).map(keptName));
    await written;
  }

  /** Gives words other ids in what isn't sent, and in what is known of images. */
  renumber(ids: ReadonlyMap<number, number>): void {
    if (!ids.size) return;
    for (const record of this.images.values())
      if (record.known) record.known = { ...record.known, work: renumbered(record.known.work, ids) };
    this.outbox.renumber(ids);
  }

  tell(...texts: readonly string[]): void {
    this.notices.push(...texts);
    if (!this.watcher || !this.notices.length) return;
    // that the connection is back doesn't take it back
    this.connection.reached();
    this.watcher.onProblem(this.notices.splice(0).slice(0, MOST_NOTICES).join("\n"));
  }

  /** Waits until no stroke is in progress in an image, and all of its changes are in the outbox. */
  async idle(id: string): Promise<void> {
    while (this.watcher!.isBusy(id)) await pause(50);
    this.watcher!.context();
  }

  private async listen(): Promise<boolean> {
    const { seq, changes, states, project, restart } = await this.api.changes(this.sequence, this.connection.signal);
    if (restart) return this.restart();
    if (project) await this.takeProject(project);
    if (changes.some(({ what }) => what === "improved")) this.watcher!.onImproved();
    if (changes.some(({ what }) => what === "emptied")) this.watcher!.onEmptied();
    for (const { what, image_id: id } of changes) if (what === "removed" && id && !states[id]) this.takeRemoved(id);
    for (const [id, state] of Object.entries(states)) this.takeState(id, state);
    this.sequence = seq;
    for (const id of Object.keys(states)) this.follow(id);
    return true;
  }

  /** Older files were put back on the service: what holds there is taken over, whatever its number. */
  private async restart(): Promise<boolean> {
    const served = await this.api.get();
    this.sequence = served.seq;
    this.served = { ...this.served, revision: 0 };
    await this.takeProject(served);
    const now = new Map(served.images.map((state) => [state.id!, state]));
    for (const id of [...this.images.keys()]) if (!now.has(id)) this.takeRemoved(id);
    for (const [id, state] of now) this.takeState(id, state, true);
    for (const id of now.keys()) this.follow(id);
    return true;
  }

  private takeRemoved(id: string): void {
    this.images.delete(id);
    this.watcher!.onRemoved(id);
  }

  takeState(id: string, state: ImageState, isBack = false): void {
    const record = this.images.get(id);
    if (!record) {
      this.take(id, state);
      this.watcher!.onAdded(imageEntry(state));
      return this.onBack(id);
    }
    const before = record.state;
    if (state.revision < before.revision && !isBack) return;
    record.state = state;
    // words in what is cached may have been merged, and be apart again
    const isOther = before.revision !== state.revision || (isBack && record.known !== null);
    if (isBack) record.known = null;
    if (isOther) record.isStale = true;
    // who labels it may be another
    else if (before.person !== state.person && !this.outbox.shown(id)) this.watcher!.onState(id, state, false);
  }

  /** Shows what others changed in an image; if there are unsent changes, both are put together when these are sent. */
  follow(id: string): void {
    const record = this.images.get(id);
    if (!record?.isStale) return;
    if (id === this.held) return this.showing.start();
    // a change that waits to be saved comes first
    this.watcher!.context();
    if (this.outbox.shown(id)) return;
    Object.assign(record, { isStale: false, known: null });
    this.watcher!.onState(id, record.state, true);
  }

  /** Another image is open. */
  hold(id: string | null): void {
    const before = this.held;
    this.held = id;
    for (const one of [before, id]) if (one !== null) this.follow(one);
  }

  /** Reads an image that others changed, and shows it; false: there is nothing to show, or not now. */
  async show(id: string): Promise<boolean> {
    const record = this.images.get(id);
    if (!record?.isStale || this.outbox.shown(id)) return false;
    const before = record.state;
    const known = await this.read(id);
    await this.idle(id);
    // one that changed again meanwhile is read again
    if (this.outbox.shown(id) || record.state !== before) return true;
    record.isStale = false;
    this.remember(id, known);
    this.watcher!.onState(id, known.state ?? before, true);
    this.watcher!.onWork(id, known.work);
    return true;
  }
}

function projectOf({ name, revision, words, options }: Project): Project {
  return { name, revision, words, options };
}

export function isSameProject(one: Project, other: Project): boolean {
  const content = ({ name, words, options }: Project) =>
    JSON.stringify([name, words.map(({ id, name: word, color, removed }) => [id, word, color, removed]), Object.entries(options).sort()]);
  return content(one) === content(other);
}

/** What is said of a word that couldn't be renamed. */
export function keptName({ from, to }: RebasedWords["notRenamed"][number]): string {
  const [old, taken] = [firstName(from), firstName(to)];
  return `“${old}” keeps its name: another word is “${taken}” by now. Rename “${old}” again to merge the two.`;
}
