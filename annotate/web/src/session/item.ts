/** An image of the project and its state. */

import { computed, signal, type Signal } from "@preact/signals";

import type { ImageSource, Pixels } from "../backend";
import { allPixels, type Picture } from "../imaging/picture";
import type { Box, Size } from "../labels/runs";
import type { ImageEntry, ImageState, Store } from "../project/structure";

/** Labeling that goes on or failed; `answers`: the query and the back end. */
type Attempt =
  | { readonly kind: "running" }
  | { readonly kind: "failed"; readonly answers: string; readonly message: string; readonly isTransient: boolean };

export class Item implements ImageSource {
  readonly id: string;
  readonly name: string;
  readonly order: number;
  /** null: what it has are its labels. */
  readonly attempt = signal<Attempt | null>(null);
  readonly state = computed(() => {
    const kind = this.hasLabels.value ? "labeled" : "waiting";
    return this.attempt.value ?? ({ kind, answers: this.answers.value } as const);
  });
  /** The image while it is open; null: it isn't. */
  picture: Picture | null = null;
  /** When it was removed [ms since 1970]; null: it wasn't. */
  removed: number | null;
  readonly summary: Signal<ImageState>;
  readonly isDone = computed(() => this.summary.value.done);
  /** What its labels by the model answer; null: there are none. */
  readonly answers = computed(() => this.summary.value.answers);
  private readonly hasLabels = computed(() => this.answers.value !== null || this.summary.value.source !== null);

  constructor(
    { id, order, removed, state }: ImageEntry,
    private readonly store: Store,
  ) {
    this.id = id;
    this.order = order;
    this.removed = removed;
    this.name = state.image;
    this.summary = signal(state);
  }

  // of an image in the trash of a service neither is known
  get width(): number {
    return this.summary.peek().width;
  }

  get height(): number {
    return this.summary.peek().height;
  }

  /** Whether its labels were imported, so that the model doesn't label it. */
  get isImported(): boolean {
    return this.summary.value.source === "import";
  }

  file(): Promise<Blob> {
    return this.store.file(this.id);
  }

  thumbnail(): Promise<Blob> {
    return this.store.thumbnail(this.id);
  }

  scaled(): Promise<Blob> {
    return this.store.scaled(this.entry());
  }

  openPicture(): Promise<Picture> {
    return this.store.picture(this.entry());
  }

  async pixels(): Promise<Pixels> {
    return this.read(allPixels);
  }

  async part(box: Box, least: Size): Promise<Pixels> {
    return this.read((picture) => picture.pixels(box, least));
  }

  /** Reads of the open picture, or of one that is opened for that. */
  private async read(get: (picture: Picture) => Promise<Pixels>): Promise<Pixels> {
    if (this.picture) return get(this.picture);
    const picture = await this.openPicture();
    try {
      return await get(picture);
    } finally {
      picture.close();
    }
  }

  entry(): ImageEntry {
    return { id: this.id, order: this.order, removed: this.removed, state: this.summary.value };
  }
}
