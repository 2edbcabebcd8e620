/** The browser's database: a project, or what a service doesn't have yet. */

import { type DBSchema, type IDBPDatabase, openDB } from "idb";

import type { SavedEdits } from "../labels/edits";
import type { Draft } from "../labels/labeling";
import type { KeptEntry } from "./outbox";
import type { ImageEntry, Settled } from "./structure";

interface Schema extends DBSchema {
  images: { key: string; value: ImageEntry };
  files: { key: string; value: Blob };
  thumbnails: { key: string; value: Blob };
  drafts: { key: string; value: Draft };
  /** `revision`: that of a service's image that has them. */
  edits: { key: string; value: SavedEdits & { readonly revision?: number } };
  settled: { key: string; value: Settled };
  settings: { key: string; value: unknown };
  outbox: { key: string; value: KeptEntry };
}

export const OF_IMAGES = ["images", "files", "thumbnails", "drafts", "edits", "settled"] as const;

const STORES = [...OF_IMAGES, "settings", "outbox"] as const;

type StoreName = (typeof STORES)[number];

const VERSION = 6;

/** A value to write; without one, what the key has is deleted. */
export type Entry = {
  [Name in StoreName]: { readonly store: Name; readonly key: string; readonly value?: Schema[Name]["value"] };
}[StoreName];

/** Kept in memory alone where the browser has no database, such as in some private windows. */
export class Database {
  private readonly memory = new Map<string, unknown>();

  private constructor(private readonly database: IDBPDatabase<Schema> | null) {}

  /**
   * Open a database.
   *
   * @param onBlocked called while other tabs have an earlier page open, which have to be closed first.
   */
  static async open(name = "segvoc", onBlocked: () => void = () => {}): Promise<Database> {
    try {
      const database = await openDB<Schema>(name, VERSION, {
        upgrade(upgraded) {
          for (const store of STORES) if (!upgraded.objectStoreNames.contains(store)) upgraded.createObjectStore(store);
        },
        blocked: onBlocked,
        // a later page, in another tab, goes on with it
        blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
      });
      return new Database(database);
    } catch {
      return new Database(null);
    }
  }

  get isLasting(): boolean {
    return this.database !== null;
  }

  async get<Name extends StoreName>(store: Name, key: string): Promise<Schema[Name]["value"] | undefined> {
    if (!this.database) return this.memory.get(`${store} ${key}`) as Schema[Name]["value"] | undefined;
    return this.database.get(store, key);
  }

  async getAll<Name extends StoreName>(store: Name): Promise<Schema[Name]["value"][]> {
    return (await this.getEntries(store)).map(([, value]) => value);
  }

  async getEntries<Name extends StoreName>(store: Name): Promise<[string, Schema[Name]["value"]][]> {
    if (!this.database) {
      const kept = [...this.memory].filter(([key]) => key.startsWith(`${store} `));
      return kept.map(([key, value]) => [key.slice(store.length + 1), value as Schema[Name]["value"]]);
    }
    const reading = this.database.transaction(store);
    const [keys, values] = await Promise.all([reading.store.getAllKeys(), reading.store.getAll()]);
    return keys.map((key, at) => [key, values[at]]);
  }

  /** Write several values: all of them, or none. @throws DOMException the browser's share of the disk is full. */
  async write(entries: readonly Entry[]): Promise<void> {
    if (!entries.length) return;
    if (!this.database) {
      for (const { store, key, value } of entries)
        if (value === undefined) this.memory.delete(`${store} ${key}`);
        else this.memory.set(`${store} ${key}`, value);
      return;
    }
    const writing = this.database.transaction([...new Set(entries.map(({ store }) => store))], "readwrite");
    const requests = entries.map(({ store, key, value }) => {
      const target = writing.objectStore(store);
      return value === undefined ? target.delete(key) : target.put(value as never, key);
    });
    // without waiting for the requests' answers, which a page that is closed at once doesn't get
    writing.commit();
    await Promise.all([...requests, writing.done]);
  }

  /** Write nothing any more, once what was begun is written. */
  close(): void {
    this.database?.close();
  }
}
