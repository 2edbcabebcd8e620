/** A project that lives in the browser. */

import { asShown, decodeImage, thumbnail } from "../imaging/reading";
import { type Entry, OF_IMAGES } from "./database";
import { labelingOf, renumbered, summaryOf } from "./keeping";
import { newState, Store } from "./structure";
import type { Change, ImageEntry, OpenedProject, Project, Verdict, Work } from "./structure";

/** How long removed images can be put back [ms]. */
const LONGEST_REMOVED = 7 * 24 * 3600e3;

export class BrowserStore extends Store {
  readonly isShared = false;

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
      if (!entry.state.pixels[word]) continue;
      const work = renumbered(await this.work(entry.id), new Map([[word, into]]));
      const summary = summaryOf(labelingOf(entry.state, work, this.watcher!.context()));
      const state = { ...entry.state, ...summary, revision: entry.state.revision + 1 };
      await this.save(entry, { state, ...work });
      this.watcher!.onState(entry.id, state, true);
      this.watcher!.onWork(entry.id, work);
    }
  }

  forget(ids: readonly string[]): Promise<void> {
    return this.database.write(ids.flatMap((key) => OF_IMAGES.map((store) => ({ store, key }))));
  }
}
