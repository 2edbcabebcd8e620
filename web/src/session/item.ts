/** An image of the strip. */

import { signal } from "@preact/signals";

import type { ImageSource, Pixels } from "../backend";
import { decodeImage, pixelsOf, thumbnail } from "../imaging/reading";
import type { StoredImage } from "./storage";

/** What became of an image so far. */
export type State =
  | { readonly kind: "waiting" | "running" }
  /** `answers`: the query and the back end that it was labeled for. */
  | { readonly kind: "done"; readonly answers: string }
  /** `answers`: the query and the back end that failed. */
  | {
      readonly kind: "failed";
      readonly answers: string;
      readonly message: string;
      /** Whether it is tried again by itself. */
      readonly isTransient: boolean;
    };

export class Item implements ImageSource {
  readonly id: string;
  readonly name: string;
  readonly file: Blob;
  readonly width: number;
  readonly height: number;
  /** Address of a small image of it. */
  readonly thumbnail: string;
  readonly state = signal<State>({ kind: "waiting" });
  /** What the labels that are kept answer; null: there are none. */
  answers: string | null;

  constructor(private readonly stored: StoredImage) {
    ({ id: this.id, name: this.name, file: this.file, width: this.width, height: this.height } = stored);
    this.thumbnail = URL.createObjectURL(stored.thumbnail);
    this.answers = stored.answers;
    if (stored.answers !== null) this.state.value = { kind: "done", answers: stored.answers };
  }

  /**
   * @param order place in the strip.
   * @throws PageError the file isn't an image that the browser can read.
   */
  static async read(file: File, order: number): Promise<Item> {
    const name = file.name || "image.png";
    const bitmap = await decodeImage(file, name);
    const { width, height } = bitmap;
    const small = await thumbnail(bitmap);
    bitmap.close();
    return new Item({
      id: `${Date.now()} ${Math.random()}`,
      name,
      file,
      width,
      height,
      thumbnail: small,
      order,
      answers: null,
      removed: null,
    });
  }

  decode(): Promise<ImageBitmap> {
    return decodeImage(this.file, this.name);
  }

  async pixels(): Promise<Pixels> {
    const bitmap = await this.decode();
    try {
      return pixelsOf(bitmap, this.name);
    } finally {
      bitmap.close();
    }
  }

  /** The image as it is kept, with the time at which it was removed, if it was [ms]. */
  toStore(removed: number | null): StoredImage {
    return { ...this.stored, answers: this.answers, removed };
  }

  /** Place in the strip. */
  get order(): number {
    return this.stored.order;
  }

  release(): void {
    URL.revokeObjectURL(this.thumbnail);
  }
}
