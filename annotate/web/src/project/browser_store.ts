/** A project that lives in the browser. */

import { signal } from "@preact/signals";

import { asShown, decodeImage, thumbnail } from "../imaging/reading";
import { type Database, type Entry, OF_IMAGES } from "./database";
import {
  type Change,
  type ImageEntry,
  newState,
  type OpenedProject,
  type Project,
  type Setting,
  type Store,
  type Work,
} from "./structure";

/** How long removed images can be put back [ms]. */
const LONGEST_REMOVED = 7 * 24 * 3600e3;

export class BrowserStore implements Store {
  readonly waiting = signal(0);
  readonly isAway = signal(false);
  readonly isShared = false;

  constructor(private readonly database: Database) {}

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

  /** Nobody else changes it. */
  watch(): void {}

  hold(): void {}

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

  forget(ids: readonly string[]): Promise<void> {
    return this.database.write(ids.flatMap((key) => OF_IMAGES.map((store) => ({ store, key }))));
  }

  download(): null {
    return null;
  }

  get(setting: Setting): Promise<unknown> {
    return this.database.get("settings", setting);
  }

  put(setting: Setting, value: unknown): Promise<void> {
    return this.database.write([{ store: "settings", key: setting, value }]);
  }

  close(): void {
    this.database.close();
  }
}
