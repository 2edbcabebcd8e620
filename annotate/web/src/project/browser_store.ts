/** A project that lives in the browser. */

import { asShown, decodeImage, thumbnail } from "../imaging/reading";
import { unpacked } from "../labels/layer";
import type { Size } from "../labels/runs";
import { type Entry, OF_IMAGES } from "./database";
import { indexed, labelingOf, summaryOf, withIds } from "./keeping";
import { newState, Store } from "./structure";
import type { Change, ImageEntry, KeptDraft, KeptEdits, OpenedProject, Project, Verdict, Work } from "./structure";
import { correctionsOf, editsOf, FIRST_WORD } from "./work_file";

/** How long removed images can be put back [ms]. */
const LONGEST_REMOVED = 7 * 24 * 3600e3;

const keyBefore = (id: string) => `merged ${id}`;

export class BrowserStore extends Store {
  readonly isShared = false;

  get isLasting(): boolean {
    return this.database.isLasting;
  }

  async open(): Promise<OpenedProject> {
    const project = (await this.database.get("settings", "project")) as Project | undefined;
    const all = await this.database.getAll("images");
    const removed = all.filter((entry) => entry.removed !== null).sort((one, other) => one.removed! - other.removed!);
    const isOld = (entry: ImageEntry) => Date.now() - entry.removed! > LONGEST_REMOVED;
    await this.forget(removed.filter(isOld).map(({ id }) => id));
    return {
      project: project ?? null,
      images: all.filter((entry) => entry.removed === null).sort((one, other) => one.order - other.order),
      removed: removed.filter((entry) => !isOld(entry)),
    };
  }

  saveProject(project: Project): Promise<void> {
    return this.database.write([{ store: "settings", key: "project", value: project }]);
  }

  async add(file: File, name: string, order: number, most: number): Promise<ImageEntry> {
    const bitmap = await decodeImage(file, name, most);
    const size = { width: bitmap.width, height: bitmap.height };
    const [kept, small] = [await asShown(file, bitmap), await thumbnail(bitmap)];
    bitmap.close();
    const id = `${Date.now()} ${Math.random()}`;
    const entry = { id, order, removed: null, state: newState(name, size) };
    await this.database.write([
      { store: "images", key: id, value: entry },
      { store: "files", key: id, value: kept },
      { store: "thumbnails", key: id, value: small },
    ]);
    return entry;
  }

  async file(id: string): Promise<Blob> {
    return (await this.database.get("files", id)) ?? new Blob();
  }

  async thumbnail(id: string): Promise<Blob> {
    return (await this.database.get("thumbnails", id)) ?? new Blob();
  }

  async work(id: string): Promise<Work> {
    const [draft, edits, settled] = await Promise.all([
      this.database.get("drafts", id),
      this.database.get("edits", id),
      this.database.get("settled", id),
    ]);
    return { draft: draft ?? null, edits: edits ?? null, settled: settled ?? null };
  }

  save(entry: ImageEntry, { state, draft, edits, settled }: Change): Promise<void> {
    const key = entry.id;
    const entries: Entry[] = [{ store: "images", key, value: { ...entry, state } }];
    if (draft) entries.push({ store: "drafts", key, value: draft });
    if (edits) entries.push({ store: "edits", key, value: edits });
    if (settled !== undefined) entries.push({ store: "settled", key, ...(settled && { value: settled }) });
    return this.database.write(entries);
  }

  saveRemoved(entry: ImageEntry): Promise<void> {
    return this.database.write([{ store: "images", key: entry.id, value: entry }]);
  }

  async review(entry: ImageEntry, verdict: Verdict, comment: string): Promise<void> {
    const review = { verdict, comment, by: null, at: new Date().toISOString() };
    const state = { ...entry.state, done: verdict === "accepted", review, revision: entry.state.revision + 1 };
    await this.save(entry, { state, ...(!state.done && { settled: null }) });
    this.watcher!.onState(entry.id, state, false);
    this.watcher!.onWork(entry.id, await this.work(entry.id));
  }

  async merge(word: number, into: number): Promise<void> {
    for (const entry of await this.database.getAll("images")) {
      // of an earlier merge
      await this.database.write([{ store: "settings", key: keyBefore(entry.id) }]);
      if (!entry.state.pixels[word]) continue;
      const before = await this.work(entry.id);
      await this.database.write([{ store: "settings", key: keyBefore(entry.id), value: before }]);
      await this.rewrite(entry, exchanged(before, entry.state, word, into));
    }
  }

  async separate(word: number, into: number): Promise<void> {
    for (const entry of await this.database.getAll("images")) {
      const before = (await this.database.get("settings", keyBefore(entry.id))) as Work | undefined;
      if (before) await this.rewrite(entry, exchanged(await this.work(entry.id), entry.state, into, word, before));
    }
  }

  private async rewrite(entry: ImageEntry, work: Work): Promise<void> {
    const summary = summaryOf(labelingOf(entry.state, work, this.watcher!.context()));
    const state = { ...entry.state, ...summary, revision: entry.state.revision + 1 };
    await this.save(entry, { state, ...work });
    this.watcher!.onState(entry.id, state, true);
    this.watcher!.onWork(entry.id, work);
  }

  forget(ids: readonly string[]): Promise<void> {
    const kept = ids.map((id) => ({ store: "settings", key: keyBefore(id) }) as const);
    return this.database.write([...kept, ...ids.flatMap((key) => OF_IMAGES.map((store) => ({ store, key })))]);
  }
}

/** The work in which pixels of a word have another one: all of them, or those that have the other one in `before`. */
export function exchanged(work: Work, size: Size, old: number, other: number, before: Work | null = null): Work {
  const exchange = (now: Uint16Array<ArrayBuffer>, earlier: Uint16Array | null | undefined, offset = 0) => {
    if (before && !earlier) return now;
    const [from, to] = [old + offset, other + offset];
    return now.map((id, at) => (id === from && (!earlier || earlier[at] === to) ? to : id));
  };
  const { draft, edits, settled } = work;
  const planeOf = ({ labels, ids }: KeptDraft) => withIds(labels, ids);
  const plane = draft && exchange(planeOf(draft), before?.draft && planeOf(before.draft));
  return {
    draft: draft && { ...draft, ...indexed(plane!, draft.ids) },
    edits: edits && exchangedEdits(edits, before && (before.edits ?? edits)),
    settled: settled && exchange(Uint16Array.from(settled), before?.settled),
  };

  function exchangedEdits(now: KeptEdits, earlier: KeptEdits | null): KeptEdits {
    const ids = (all: KeptEdits["ids"], places?: KeptEdits["ids"]) =>
      all.map((id, at) => (id === old && (!places || places[at] === other) ? other : id));
    const objects = { ...now.objects, ids: ids(now.objects.ids, earlier?.objects.ids) };
    // the history stays where all pixels change alike
    if (!earlier) return { ...now, ids: ids(now.ids), objects };
    const [layer, layerBefore] = [now, earlier].map((one) => unpacked(correctionsOf(one, size)));
    return editsOf(exchange(layer, layerBefore, FIRST_WORD), objects);
  }
}
