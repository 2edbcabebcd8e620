/** The page's state, and what can be done with it: images in, one of them open, words for all. */

import { computed, effect, signal, untracked } from "@preact/signals";

import { sentence, type Backend, type ModelInfo, type Segmentation, type TaughtFile } from "../backend";
import { Item } from "./item";
import { OpenImage } from "./open_image";
import { makeSettings, restore, valuesOf } from "./settings";
import type { Storage, StoredImage } from "./storage";
import { withColors } from "./word_colors";
import { Writer } from "./writer";

/** Most files whose problems are told one by one. */
const MOST_LISTED = 8;

/** How long removed images can be put back [ms]. */
const LONGEST_REMOVED = 7 * 24 * 3600e3;

const EXAMPLE = { file: "example.jpg", words: ["cup of coffee", "wooden table"] };

/** A file of taught words as it is kept. */
interface StoredTaught {
  readonly name: string;
  readonly content: Uint8Array;
}

export class Session {
  readonly settings = makeSettings();
  readonly items = signal<readonly Item[]>([]);
  /** Images that were removed, and can be put back; the last one last. */
  readonly removed = signal<readonly Item[]>([]);
  /** The image that is looked at. */
  readonly current = signal<OpenImage | null>(null);
  /** The image that was chosen last, which may not be open yet. */
  readonly chosen = signal<Item | null>(null);
  readonly model = signal<ModelInfo | null>(null);
  /** The files of taught words that the reader gave, and the model took. */
  readonly taught = signal<readonly TaughtFile[]>([]);
  /** What went wrong, in one sentence. */
  readonly problem = signal<string | null>(null);
  /** Words that aren't shown, and the one that is shown alone. */
  readonly hidden = signal<ReadonlySet<string>>(new Set());
  readonly alone = signal<string | null>(null);
  readonly isLabeled = computed(() => Boolean(this.current.value?.labeling.value));
  /** The files of taught words, by their ids. */
  private readonly contents = new Map<string, StoredTaught>();
  private readonly writer = new Writer();

  constructor(private readonly storage: Storage) {}

  get isLasting(): boolean {
    return this.storage.isLasting;
  }

  /** Bring back what was kept, and keep from now on what changes. */
  async restore(): Promise<void> {
    restore(this.settings, await this.storage.get("settings", "all"));
    await this.restoreImages();
    this.keepColors();
    effect(() => {
      const values = valuesOf(this.settings);
      this.writer.write("settings", () => this.kept(() => this.storage.put("settings", "all", values)));
    });
    for (const leaving of ["visibilitychange", "pagehide"]) addEventListener(leaving, () => this.writer.flush(), true);
    const last = await this.storage.get("settings", "current");
    const item = this.items.value.find(({ id }) => id === last) ?? this.items.value[0];
    if (item) await this.open(item);
  }

  /** Give a color to every word that comes. */
  private keepColors(): void {
    const { colors, rule, words } = this.settings;
    effect(() => {
      const objects = this.current.value?.found.value?.words ?? [];
      const { background } = rule.value;
      const all = [...words.value, ...objects, ...(background === null ? [] : [background])];
      colors.value = withColors(untracked(() => colors.value), all);
    });
  }

  private async restoreImages(): Promise<void> {
    const images = await this.storage.images();
    const removed = images.filter((stored) => stored.removed).sort((one, other) => one.removed! - other.removed!);
    const isOld = (stored: StoredImage) => Date.now() - stored.removed! > LONGEST_REMOVED;
    for (const { id } of removed.filter(isOld)) await this.storage.remove(id);
    this.removed.value = removed.filter((stored) => !isOld(stored)).map((stored) => new Item(stored));
    this.items.value = images.filter((stored) => !stored.removed).map((stored) => new Item(stored));
  }

  /** Add image files to the strip; the first one is opened if none is. */
  async add(files: readonly File[]): Promise<void> {
    this.problem.value = null;
    const last = this.items.value.at(-1)?.order ?? 0;
    const problems: string[] = [];
    let isFirst = true;
    for (const [at, file] of files.entries()) {
      try {
        const item = await Item.read(file, last + at + 1);
        await this.kept(() => this.storage.put("images", item.id, item.toStore(null)));
        this.items.value = [...this.items.value, item];
        if (isFirst) await this.open(item);
        isFirst = false;
      } catch (failure) {
        problems.push(sentence(failure));
        this.problem.value = listed(problems);
      }
    }
  }

  /** Add the image that comes with the page, and words that suit it if there are none. */
  async addExample(): Promise<void> {
    try {
      const content = await (await fetch(EXAMPLE.file)).blob();
      await this.add([new File([content], EXAMPLE.file, { type: "image/jpeg" })]);
      const { words } = this.settings;
      if (!words.value.length) words.value = EXAMPLE.words;
    } catch {
      this.problem.value = "The example can't be reached; check the connection.";
    }
  }

  /** Give the model files of taught words; a file that was given before counts as the last. */
  async addTaught(backend: Backend, files: readonly File[]): Promise<void> {
    this.problem.value = null;
    for (const { name, content } of await Promise.all(files.map(contentOf))) await this.teach(backend, name, content);
    await this.keepTaught();
  }

  async removeTaught({ id }: TaughtFile): Promise<void> {
    this.taught.value = this.taught.value.filter((other) => other.id !== id);
    await this.keepTaught();
  }

  /** Bring back the taught words that were kept; what the model refuses is forgotten, with one sentence that says why. */
  async restoreTaught(backend: Backend): Promise<string | null> {
    const kept = ((await this.storage.get("settings", "taught")) ?? []) as readonly StoredTaught[];
    this.problem.value = null;
    for (const { name, content } of kept) await this.teach(backend, name, content);
    if (this.problem.value) await this.keepTaught();
    return this.problem.value;
  }

  private async teach(backend: Backend, name: string, content: Uint8Array): Promise<void> {
    try {
      const file = await backend.teach!(name, content);
      this.contents.set(file.id, { name, content });
      this.taught.value = [...this.taught.value.filter(({ id }) => id !== file.id), file];
    } catch (failure) {
      this.problem.value = sentence(failure);
    }
  }

  private keepTaught(): Promise<void> {
    const kept = this.taught.value.map(({ id }) => this.contents.get(id)!);
    return this.kept(() => this.storage.put("settings", "taught", kept));
  }

  async open(item: Item): Promise<void> {
    this.chosen.value = item;
    if (untracked(() => this.current.value?.item) === item) return;
    try {
      const opened = await this.read(item);
      // another one may have been chosen meanwhile
      if (this.chosen.value !== item) opened.close();
      else this.show(opened);
    } catch (failure) {
      this.problem.value = sentence(failure);
    }
  }

  /** Open the image that is so many places further in the strip. */
  move(places: number): void {
    const items = this.items.value;
    const at = items.indexOf(this.chosen.value!) + places;
    if (at >= 0 && at < items.length) void this.open(items[at]);
  }

  /** Take an image out of the strip; it can be put back. */
  async remove(item: Item): Promise<void> {
    const at = this.items.value.indexOf(item);
    this.items.value = this.items.value.filter((other) => other !== item);
    this.removed.value = [...this.removed.value, item];
    await this.kept(() => this.storage.put("images", item.id, item.toStore(Date.now())));
    if (this.chosen.value !== item) return;
    const next = this.items.value[Math.min(at, this.items.value.length - 1)];
    if (next) await this.open(next);
    else this.show(null);
  }

  /** Put the image back that was removed last. */
  async putBack(): Promise<void> {
    const item = this.removed.value.at(-1);
    if (!item) return;
    this.removed.value = this.removed.value.slice(0, -1);
    this.items.value = [...this.items.value, item].sort((one, other) => one.order - other.order);
    await this.kept(() => this.storage.put("images", item.id, item.toStore(null)));
    await this.open(item);
  }

  /** Delete all images and words. */
  async clear(): Promise<void> {
    const items = [...this.items.value, ...this.removed.value];
    this.items.value = [];
    this.removed.value = [];
    this.show(null);
    Object.assign(this.settings.words, { value: [] });
    Object.assign(this.settings.parts, { value: "" });
    Object.assign(this.settings.colors, { value: {} });
    this.taught.value = [];
    await this.keepTaught();
    for (const item of items) {
      await this.storage.remove(item.id);
      item.release();
    }
  }

  /** Keep what a back end answered. */
  async take(item: Item, found: Segmentation, answers: string): Promise<void> {
    await this.kept(() => this.storage.put("results", item.id, found));
    item.answers = answers;
    // it may have been removed meanwhile
    if (this.removed.value.includes(item)) item.state.value = { kind: "done", answers };
    if (!this.items.value.includes(item)) return;
    await this.kept(() => this.storage.put("images", item.id, item.toStore(null)));
    if (this.current.value?.item === item) this.current.value.found.value = found;
    item.state.value = { kind: "done", answers };
  }

  /** An image as it is open, or opened for a moment: close it if it isn't the current one. */
  async opened(item: Item): Promise<OpenImage> {
    if (this.current.value?.item === item) return this.current.value;
    return this.read(item);
  }

  /** Write down an image's corrections. */
  keepEdits({ item, edits }: OpenImage): void {
    this.writer.write(item.id, () => this.kept(() => this.storage.put("edits", item.id, edits.saved)));
  }

  private async read(item: Item): Promise<OpenImage> {
    const bitmap = await item.decode();
    // what is written comes first; labels that are found while this is read are given to the image once it is shown
    this.writer.flush();
    const [found, saved] = await Promise.all([
      this.storage.get("results", item.id),
      this.storage.get("edits", item.id),
    ]);
    return new OpenImage(item, bitmap, found ?? null, saved ?? null, this.settings);
  }

  private show(image: OpenImage | null): void {
    const before = this.current.value;
    this.current.value = image;
    this.chosen.value = image?.item ?? null;
    before?.close();
    this.writer.write("current", () => this.kept(() => this.storage.put("settings", "current", image?.item.id)));
  }

  /** Write nothing any more, since another tab does. */
  close(): void {
    this.writer.flush();
    this.storage.close();
  }

  private async forgetRemoved(): Promise<void> {
    const removed = this.removed.value;
    this.removed.value = [];
    for (const item of removed) {
      await this.storage.remove(item.id);
      item.release();
    }
  }

  private async kept(write: () => Promise<void>): Promise<void> {
    try {
      await write().catch(async () => {
        // what was removed needs the room
        await this.forgetRemoved();
        await write();
      });
    } catch {
      this.problem.value = "The browser has no more room for this page; save your results, and remove some images.";
    }
  }
}

/** One problem in each line, and how many more there are. */
function listed(problems: readonly string[]): string {
  const more = problems.length - MOST_LISTED;
  return [...problems.slice(0, MOST_LISTED), ...(more > 0 ? [`${more} more of the files can't be read.`] : [])].join("\n");
}

async function contentOf(file: File): Promise<StoredTaught> {
  return { name: file.name, content: new Uint8Array(await file.arrayBuffer()) };
}
