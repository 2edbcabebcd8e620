/** What the browser keeps of the page's work, until it is taken away: images, labels, corrections and settings. */

import { openDB, type DBSchema, type IDBPDatabase } from "idb";

import type { Segmentation } from "../backend";
import type { SavedEdits } from "../labels/edits";

/** An image as it is kept. */
export interface StoredImage {
  readonly id: string;
  readonly name: string;
  readonly file: Blob;
  readonly width: number;
  readonly height: number;
  readonly thumbnail: Blob;
  /** Place in the strip. */
  readonly order: number;
  /** What its labels answer; null: it has none. */
  readonly answers: string | null;
  /** When it was removed [ms since 1970]; null: it wasn't. */
  readonly removed: number | null;
}

interface Schema extends DBSchema {
  images: { key: string; value: StoredImage };
  results: { key: string; value: Segmentation };
  edits: { key: string; value: SavedEdits };
  settings: { key: string; value: unknown };
}

/** Everything that belongs to an image. */
const OF_IMAGES = ["images", "results", "edits"] as const;

/** Kept in memory alone where the browser has no database, such as in some private windows. */
export class Storage {
  private readonly memory = new Map<string, unknown>();

  private constructor(private readonly database: IDBPDatabase<Schema> | null) {}

  static async open(): Promise<Storage> {
    try {
      const database = await openDB<Schema>("segvoc", 1, {
        upgrade(created) {
          for (const name of [...OF_IMAGES, "settings"] as const) created.createObjectStore(name);
        },
      });
      return new Storage(database);
    } catch {
      return new Storage(null);
    }
  }

  /** Whether images are still there when the page is opened again. */
  get isLasting(): boolean {
    return this.database !== null;
  }

  async get<Name extends keyof Schema & ("images" | "results" | "edits" | "settings")>(
    store: Name,
    key: string,
  ): Promise<Schema[Name]["value"] | undefined> {
    if (!this.database) return this.memory.get(`${store} ${key}`) as Schema[Name]["value"] | undefined;
    return this.database.get(store, key);
  }

  /** @throws DOMException the disk, or the browser's share of it, is full. */
  async put<Name extends "images" | "results" | "edits" | "settings">(
    store: Name,
    key: string,
    value: Schema[Name]["value"],
  ): Promise<void> {
    if (!this.database) return void this.memory.set(`${store} ${key}`, value);
    const writing = this.database.transaction(store, "readwrite");
    const request = writing.store.put(value as never, key);
    // without waiting for the request's answer, which a page that is closed at once doesn't get
    writing.commit();
    await Promise.all([request, writing.done]);
  }

  /** All images, in the order of the strip. */
  async images(): Promise<StoredImage[]> {
    const all = this.database ? await this.database.getAll("images") : [];
    return all.sort((one, other) => one.order - other.order);
  }

  /** Write nothing any more, once what was begun is written. */
  close(): void {
    this.database?.close();
  }

  /** Delete an image, with all that belongs to it. */
  async remove(id: string): Promise<void> {
    for (const store of OF_IMAGES) {
      this.memory.delete(`${store} ${id}`);
      await this.database?.delete(store, id);
    }
  }
}
