/** The page's state, and what can be done with it: a project's images, one of them open, and its words. */

import { batch, computed, effect, signal, untracked } from "@preact/signals";

import { type ModelInfo, type Segmentation, sentence } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import type { Choice } from "../labels/edits";
import { type Labeling, textOf } from "../labels/labeling";
import { packed } from "../labels/layer";
import { pause } from "../project/connection";
import { draftOf, labelingOf, renumbered, summaryOf } from "../project/keeping";
import { type ImageState, type Settled, type Store, uniqueName, type Verdict, type Work } from "../project/structure";
import { entryOf, withWord } from "../project/words";
import { renamed } from "../words/list";
import { Item } from "./item";
import { Listing, progressOf } from "./listing";
import { Nearby, OpenImage, paintSettled, type Prepared } from "./open_image";
import { contextOf, lookFor, makeSettings, projectOf, restore, useProject, valuesOf } from "./settings";
import { TaughtFiles } from "./taught";
import { type ConflictQuestion, onceReporter, watcherOf } from "./watching";

const MOST_LISTED = 8;

/** Delay before a failed write is tried again [ms]. */
const AGAIN = 1000;

const NO_ROOM = "The browser has no more room for this page; save your results, and remove some images.";

/** What browsers don't know as a video, too. */
const VIDEO = /\.(mp4|m4v|mov|mkv|webm|avi|mpe?g|ts|mts|m2ts|wmv|flv|ogv|mxf|3gp|y4m)$/i;

const EXAMPLE = { file: "example.jpg", words: ["cup of coffee", "wooden table"] };

export class Session {
  readonly settings = makeSettings();
  readonly name = signal("project");
  readonly items = signal<readonly Item[]>([]);
  /** Removed images, which can be restored; the last removed one is last. */
  readonly removed = signal<readonly Item[]>([]);
  readonly current = signal<OpenImage | null>(null);
  readonly chosen = computed(() => this.current.value?.item ?? null);
  /** The image that was opened last, which may still be loading. */
  readonly opening = signal<Item | null>(null);
  /** The image that was marked as done just now, which can be taken back; null: none. */
  readonly finished = signal<Item | null>(null);
  readonly listing: Listing;
  readonly model = signal<ModelInfo | null>(null);
  /** Key of the current words and options: labels with another key are outdated; null: there is nothing to label yet. */
  readonly question = signal<string | null>(null);
  readonly improved = signal(0);
  /** Incremented when an image may need labeling again though neither words nor images changed. */
  readonly reopened = signal(0);
  /** Whether a click waits for its mask; no image is labeled meanwhile. */
  readonly isClicking = signal(false);
  readonly offered = signal<File | null>(null);
  /** A video whose frames may be added; null: none. */
  readonly offeredVideo = signal<File | null>(null);
  readonly problem = signal<string | null>(null);
  readonly taught: TaughtFiles;
  /** Ids of hidden words, and of the only word that is shown. */
  readonly hidden = signal<ReadonlySet<number>>(new Set());
  readonly alone = signal<number | null>(null);
  readonly isLabeled = computed(() => Boolean(this.current.value?.labeling.value));
  /** Why the open image can't be corrected; null: it can. */
  readonly locked = computed(() => {
    if (!this.store.may("annotate")) return "Your key may look, and change nothing.";
    if (!this.isLabeled.value) return "Tools work once the image is labeled.";
    return this.current.value!.item.isDone.value ? "This image is done, and locked until you reopen it." : null;
  });
  readonly canCorrect = computed(() => this.locked.value === null);
  readonly writer = new Writer();
  readonly conflict = signal<ConflictQuestion | null>(null);
  /** What was chosen for the tools to paint; a word may be gone. */
  readonly painted = signal<Choice | "first">("first");
  private readonly nearby = new Nearby((item) => this.prepare(item));
  private readonly changes = new Map<string, Partial<Work>>();
  private readonly reportWrites = onceReporter(this.problem);
  private readonly reportOpening = onceReporter(this.problem);
  private isClosed = false;

  constructor(readonly store: Store) {
    this.listing = new Listing(this.items, this.chosen);
    this.taught = new TaughtFiles(store, this.problem, (write) => this.tryWrite(write));
  }

  /** Whether each word of an image is shown, by its id: all but the hidden ones, or only the isolated one. */
  visible({ words }: Pick<Labeling, "words">): (id: number) => boolean {
    const { hidden, alone } = this;
    const only = words.some(({ id }) => id === alone.value) ? alone.value : null;
    const { value: away } = hidden;
    return (id) => (only === null ? !away.has(id) : id === only);
  }

  isolate(id: number): void {
    this.alone.value = this.alone.value === id ? null : id;
  }

  toggle(id: number): void {
    const changed = new Set(this.hidden.value);
    if (!changed.delete(id)) changed.add(id);
    this.hidden.value = changed;
    this.alone.value = null;
  }

  /** Restores the saved state and autosaves; the image that was open is still to be opened. */
  async restore(): Promise<void> {
    restore(this.settings, await this.store.get("all"));
    const { project, images, removed } = await this.store.open();
    let revision = project?.revision ?? 0;
    if (project) useProject(this.settings, project);
    this.name.value = project?.name ?? this.name.value;
    this.items.value = images.map((entry) => new Item(entry, this.store));
    this.removed.value = removed.map((entry) => new Item(entry, this.store));
    let isFirst = true;
    effect(() => {
      const content = { name: this.name.value, ...projectOf(this.settings) };
      if (!isFirst)
        this.writer.write("project", () =>
          this.tryWrite(() => this.store.saveProject({ ...content, revision: ++revision })),
        );
      isFirst = false;
    });
    this.store.watch(watcherOf(this, this.nearby));
    effect(() => {
      // the background needs an id
      const { background } = this.settings.rule.value;
      if (background !== null) lookFor(this.settings, this.settings.words.value, [background]);
    });
    effect(() => {
      const values = valuesOf(this.settings);
      this.writer.write("settings", () => this.tryWrite(() => this.store.put("all", values)));
    });
    for (const leaving of ["visibilitychange", "pagehide"]) addEventListener(leaving, () => this.writer.flush(), true);
  }

  async openLast(): Promise<void> {
    const last = await this.store.get("current");
    const item = this.items.value.find(({ id }) => id === last) ?? this.items.value[0];
    if (item && !this.opening.value) await this.open(item);
  }

  rename(id: number, text: string): void {
    const { vocabulary } = this.settings;
    const name = renamed(vocabulary.value, id, text);
    if (name !== null) vocabulary.value = withWord(vocabulary.value, id, { name });
  }

  /** Gives the pixels of a word to another one in all images, and removes it. */
  async merge(word: number, into: number): Promise<void> {
    const { vocabulary } = this.settings;
    await this.sent();
    await this.store.merge(word, into);
    // what can be undone has the other word, too
    this.renumber(new Map([[word, into]]));
    vocabulary.value = withWord(vocabulary.value, word, { removed: true, merged_into: into });
  }

  /** Gives words other ids in what the page has open. */
  renumber(ids: ReadonlyMap<number, number>): void {
    this.nearby.clear();
    this.current.value?.renumber(ids);
    for (const [item, change] of this.changes) this.changes.set(item, renumbered(change, ids));
    const { alone, hidden, painted } = this;
    hidden.value = new Set([...hidden.value].map((id) => ids.get(id) ?? id));
    alone.value = ids.get(alone.value!) ?? alone.value;
    painted.value = ids.get(painted.value as number) ?? painted.value;
  }

  /** Kinds of files that can be added: frames of videos are read by a service. */
  get accepted(): string {
    return this.store.isShared ? "image/*,video/*" : "image/*";
  }

  /** Waits until all changes are written but for some `own` of the caller, and the service has those that it takes. */
  async sent(own = 0): Promise<void> {
    await this.writer.idle(own);
    await this.store.sent();
  }

  /** Renames the background; its id stays unless it is also one of the words. */
  nameBackground(name: string): void {
    const { vocabulary, rule } = this.settings;
    const { background } = rule.value;
    const entry = background === null ? undefined : entryOf(vocabulary.value, background);
    const isOwn = entry?.removed && !entryOf(vocabulary.value, name);
    batch(() => {
      if (isOwn) vocabulary.value = withWord(vocabulary.value, entry.id, { name });
      rule.value = { ...rule.value, background: name };
    });
  }

  async add(files: readonly File[]): Promise<void> {
    this.problem.value = null;
    const videos = files.filter(({ name, type }) => type.startsWith("video/") || VIDEO.test(name));
    this.offeredVideo.value = videos.at(-1) ?? null;
    const last = this.items.value.at(-1)?.order ?? 0;
    const most = this.model.value?.mostPixels ?? MOST_PIXELS;
    const problems: string[] = [];
    let isFirst = true;
    for (const [at, file] of files.filter((one) => !videos.includes(one)).entries()) {
      try {
        // a service puts a removed image back that is added again
        const others = this.store.isShared ? [] : this.removed.value;
        const all = [...this.items.value, ...others].map(({ name }) => name);
        const name = uniqueName(file.name || "image.png", all);
        const add = () => this.room(() => this.store.add(file, name, last + at + 1, most));
        const entry = await this.writer.counted(add);
        // the service may have told of it before it answered
        const known = this.items.value.find(({ id }) => id === entry.id);
        const item = known ?? new Item(entry, this.store);
        if (!known) this.items.value = [...this.items.value, item];
        this.removed.value = this.removed.value.filter(({ id }) => id !== entry.id);
        if (isFirst) await this.open(item);
        isFirst = false;
      } catch (failure) {
        problems.push(sentence(failure));
        this.problem.value = listed(problems);
      }
    }
  }

  async addVideo(file: File, every: number): Promise<void> {
    try {
      const order = (this.items.value.at(-1)?.order ?? 0) + 1;
      const entries = await this.writer.counted(() => this.store.addVideo(file, every, order));
      // the service may have told of them before it answered
      const known = new Set(this.items.value.map(({ id }) => id));
      const fresh = entries.filter(({ id }) => !known.has(id)).map((entry) => new Item(entry, this.store));
      this.items.value = [...this.items.value, ...fresh];
      const first = this.items.value.find(({ id }) => id === entries[0]?.id);
      if (first) await this.open(first);
    } catch (failure) {
      this.problem.value = sentence(failure);
    }
  }

  async addExample(): Promise<void> {
    try {
      const content = await (await fetch(EXAMPLE.file)).blob();
      await this.add([new File([content], EXAMPLE.file, { type: "image/jpeg" })]);
      if (!this.settings.words.value.length) lookFor(this.settings, EXAMPLE.words);
    } catch {
      this.problem.value = "The example can't be reached; check the connection.";
    }
  }

  async open(item: Item): Promise<void> {
    this.opening.value = item;
    if (untracked(() => this.current.value?.item) === item) return;
    this.reportOpening(null);
    try {
      // a stroke ends where it began
      const untilIdle = async () => {
        while (this.current.value?.edits.isBegun && this.opening.value === item) await pause(20);
      };
      await this.nearby.take(item, untilIdle, ({ picture, work }) => {
        const opened = new OpenImage(item, picture, work, this.settings);
        // the user may have chosen another one meanwhile
        if (this.opening.value !== item) opened.close();
        else this.show(opened);
      });
    } catch (failure) {
      this.reportOpening(sentence(failure));
    }
  }

  /** Opens the image so many places further in the strip. */
  move(places: number): void {
    const items = this.listing.listed.value;
    const at = items.indexOf(this.opening.value!) + places;
    if (at >= 0 && at < items.length) void this.open(items[at]);
  }

  /** Marks the open image as done and opens the next one in the strip that isn't. */
  async finish(): Promise<void> {
    const image = this.current.value;
    if (!image) return;
    const others = this.others(image.item);
    if (this.canCorrect.value) {
      this.settle(image);
      this.finished.value = image.item;
    }
    const next = others.find(({ isDone }) => !isDone.value);
    if (next) await this.open(next);
  }

  /** Opens the image again that was marked as done last, and reopens it. */
  async takeBackFinish(): Promise<void> {
    const item = this.finished.value;
    this.finished.value = null;
    if (!item) return;
    await this.open(item);
    if (this.chosen.value === item) this.reopen();
  }

  /** The other images of the strip: those after an image, then those before it. */
  private others(item: Item): Item[] {
    const items = this.listing.listed.value,
      at = items.indexOf(item);
    return [...items.slice(at + 1), ...items.slice(0, at)];
  }

  private settle(image: OpenImage): void {
    const labeling = image.labeling.value!;
    const settled = { labels: packed(labeling.labels), rule: textOf(contextOf(this.settings).rule) };
    batch(() => {
      image.settled.value = settled;
      this.keep(image.item, { settled }, { done: true, review: null, ...summaryOf(labeling) });
    });
  }

  /** Reopens the image; its labels stay until a person changes them. */
  reopen(): void {
    const image = this.current.value;
    const settled = image?.settled.value;
    if (!image || !settled) return;
    batch(() => {
      image.settled.value = null;
      this.revise(image.item, { done: false, review: null });
    });
    this.unlock(image, settled, { settled: null });
  }

  private unlock(image: OpenImage, settled: Settled, change: Partial<Work> = {}): void {
    paintSettled(image, settled, image.item.answers.value === this.question.value);
    this.keepEdits(image, change);
    this.reopened.value++;
  }

  /** Accepts the open image, which is done, and opens the next one that waits for its review; or sends it back: its labels stay until a person changes them. */
  async review(verdict: Verdict, comment = ""): Promise<void> {
    const image = this.current.value;
    const settled = image?.settled.value;
    if (!image || !settled) return;
    const others = this.others(image.item);
    try {
      await this.sent();
      await this.store.review(image.item.entry(), verdict, comment);
      if (this.current.value !== image) return;
      if (!image.item.isDone.value) this.unlock(image, settled);
      const next = verdict === "accepted" && others.find(({ summary }) => progressOf(summary.value) === "done");
      if (next) await this.open(next);
    } catch (failure) {
      this.problem.value = sentence(failure);
    }
  }

  async remove(item: Item): Promise<void> {
    const at = this.listing.listed.value.indexOf(item);
    this.nearby.drop(item);
    // its last changes come first
    this.writer.flush();
    this.items.value = this.items.value.filter((other) => other !== item);
    this.removed.value = [...this.removed.value, item];
    item.removed = Date.now();
    await this.untilWritten(() => this.store.saveRemoved(item.entry()));
    if (this.opening.value !== item) return;
    const listed = this.listing.listed.value.filter((other) => other !== item),
      next = listed[Math.min(at, listed.length - 1)] ?? this.items.value[0];
    if (next) await this.open(next);
    else this.show(null);
  }

  async putBack(): Promise<void> {
    const item = this.removed.value.at(-1);
    if (!item) return;
    this.removed.value = this.removed.value.slice(0, -1);
    this.items.value = [...this.items.value, item].sort((one, other) => one.order - other.order);
    item.removed = null;
    const before = this.opening.value;
    await this.untilWritten(() => this.store.saveRemoved(item.entry()));
    // the user may have chosen another one meanwhile
    if (this.opening.value === before) await this.open(item);
  }

  /** Deletes removed images for good. */
  async emptyTrash(): Promise<void> {
    try {
      await this.sent();
      await this.store.forget(this.removed.value.map(({ id }) => id));
      this.removed.value = [];
    } catch (failure) {
      this.problem.value = sentence(failure);
    }
  }

  async clear(): Promise<void> {
    const items = [...this.items.value, ...this.removed.value];
    this.items.value = [];
    this.removed.value = [];
    this.show(null);
    batch(() => {
      this.settings.parts.value = "";
      this.settings.vocabulary.value = [];
    });
    await this.taught.clear();
    // what is written later would bring images back; until they are gone, changes aren't saved
    await this.writer.counted(async () => {
      await this.sent(1);
      await this.store.forget(items.map(({ id }) => id));
    });
  }

  async take(item: Item, found: Segmentation, answers: string): Promise<void> {
    const isOpen = () => this.current.value?.item === item;
    const work = isOpen() ? null : await this.store.work(item.id);
    if (![...this.items.value, ...this.removed.value].includes(item)) return;
    // it may have been marked as done meanwhile
    if (item.isDone.value) return void (item.attempt.value = null);
    // objects that only parts name need an id, too
    lookFor(this.settings, this.settings.words.value, found.words);
    const context = contextOf(this.settings);
    const draft = draftOf(found, context.vocabulary);
    if (isOpen()) this.current.value!.draft.value = draft;
    else this.nearby.drop(item);
    const labeling = isOpen()
      ? this.current.value!.labeling.value!
      : labelingOf(item, { draft, edits: work?.edits ?? null, settled: null }, context);
    const { source } = item.summary.value;
    this.revise(item, { ...summaryOf(labeling), answers, source: source ?? "model" });
    const change = { state: item.summary.value, draft };
    item.attempt.value = null;
    // shown before they are saved: lost labels can be computed again
    await this.tryWrite(() => this.store.save(item.entry(), change));
  }

  /** Opens an image temporarily, or returns the open one; the caller closes any other. */
  async opened(item: Item): Promise<OpenImage> {
    if (this.current.value?.item === item) return this.current.value;
    const { picture, work } = await this.prepare(item);
    return new OpenImage(item, picture, work, this.settings);
  }

  async keptWork(item: Item): Promise<Work> {
    this.writer.flush();
    return this.store.work(item.id);
  }

  keepEdits(image: OpenImage, change: Partial<Work> = {}): void {
    const { item, labeling, objects } = image;
    if (item.isDone.value) return;
    // corrected or not, imported labels are listed as imported
    const source = item.isImported ? "import" : "person";
    this.keep(item, { ...change, edits: image.edits.saved }, { source, ...(labeling.value && summaryOf(labeling.value, objects.value)) });
  }

  private keep(item: Item, change: Partial<Work>, state: Partial<ImageState>): void {
    this.revise(item, state);
    this.changes.set(item.id, { ...this.changes.get(item.id), ...change });
    const save = async () => {
      const changes = this.changes.get(item.id);
      if (!this.changes.delete(item.id)) return;
      try {
        await this.store.save(item.entry(), { state: item.summary.value, ...changes });
      } catch (failure) {
        this.changes.set(item.id, { ...changes, ...this.changes.get(item.id) });
        throw failure;
      }
    };
    this.writer.write(item.id, () => this.untilWritten(save));
  }

  private revise({ summary }: Item, state: Partial<ImageState>): void {
    const { revision } = summary.value;
    summary.value = { ...summary.value, ...state, revision: revision + 1, at: new Date().toISOString() };
  }

  private async prepare(item: Item): Promise<Prepared> {
    const { revision } = item.summary.value;
    // pending writes come first
    this.writer.flush();
    const opening = item.openPicture();
    try {
      const [picture, work] = await Promise.all([opening, this.store.work(item.id)]);
      return { picture, work, revision };
    } catch (failure) {
      void opening.then((picture) => picture.close()).catch(() => {});
      throw failure;
    }
  }

  show(image: OpenImage | null): void {
    const before = this.current.value;
    if (before?.edits.isBegun) {
      before.finish();
      this.keepEdits(before);
    }
    if (before) before.item.picture = null;
    if (image) image.item.picture = image.picture;
    this.current.value = image;
    this.opening.value = image?.item ?? null;
    if (before && this.items.value.includes(before.item)) this.nearby.put(before.item, before.prepared);
    else before?.close();
    this.store.hold(image?.item.id ?? null);
    this.writer.write("current", () => this.tryWrite(() => this.store.put("current", image?.item.id)));
    const listed = this.listing.listed.value,
      at = image ? listed.indexOf(image.item) : -1;
    void this.nearby.prepare([at + 1, at + 2, at - 1].flatMap((place) => (at >= 0 && listed[place]) || []));
  }

  /** Stops writing: another tab took over. */
  close(): void {
    this.writer.flush();
    this.isClosed = true;
    this.store.close();
  }

  /** Writes; if the browser is full, deletes the removed images and tries again. */
  private async room<Result>(write: () => Promise<Result>): Promise<Result> {
    try {
      return await write();
    } catch (failure) {
      if (!isFull(failure) || this.store.isShared) throw failure;
      const removed = this.removed.value;
      this.removed.value = [];
      await this.store.forget(removed.map(({ id }) => id));
      return write();
    }
  }

  /** Writes; false: it failed, and the user is told why. */
  private async tryWrite(write: () => Promise<void>): Promise<boolean> {
    try {
      await this.room(write);
      this.reportWrites(null);
      return true;
    } catch (failure) {
      this.reportWrites(isFull(failure) ? NO_ROOM : sentence(failure));
      return false;
    }
  }

  /** Writes; what fails is tried again until it is written. */
  private async untilWritten(write: () => Promise<void>): Promise<void> {
    if ((await this.tryWrite(write)) || this.isClosed) return;
    // it counts as pending meanwhile
    void this.writer.counted(() => pause(AGAIN).then(() => this.untilWritten(write)));
  }
}

function isFull(failure: unknown): boolean {
  return failure instanceof DOMException && failure.name === "QuotaExceededError";
}

/** One problem per line, and the number of further ones. */
export function listed(problems: readonly string[]): string {
  const more = problems.length - MOST_LISTED;
  return [...problems.slice(0, MOST_LISTED), ...(more > 0 ? [`${more} more of the files weren't added.`] : [])].join("\n");
}

type Write = () => Promise<unknown>;

/** Runs one write per key at a time; of those that arrive meanwhile only the last, which contains all others. */
class Writer {
  readonly pending = signal(0);
  private readonly running = new Set<string>();
  private readonly waiting = new Map<string, Write>();

  /** @param write starts synchronously and never rejects. */
  write(key: string, write: Write): void {
    if (this.running.has(key)) this.waiting.set(key, write);
    else void this.run(key, write);
  }

  /** Starts all waiting writes: the page may be closing. */
  flush(): void {
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    for (const write of waiting) void this.counted(write);
  }

  async idle(own = 0): Promise<void> {
    for (this.flush(); this.pending.value > own; ) await pause(20);
  }

  private async run(key: string, write: Write): Promise<void> {
    this.running.add(key);
    await this.counted(write);
    this.running.delete(key);
    const next = this.waiting.get(key);
    if (!this.waiting.delete(key)) return;
    await this.run(key, next!);
  }

  async counted<Result>(write: () => Promise<Result>): Promise<Result> {
    this.pending.value++;
    try {
      return await write();
    } finally {
      this.pending.value--;
    }
  }
}
