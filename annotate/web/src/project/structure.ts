/**
 * A project: images, words with ids that stay, and for each image what the model found, what people corrected and
 * whether it is done. Folders, zips, the service and the browser all keep this structure.
 */

import { type ReadonlySignal, signal } from "@preact/signals";

import { PageError } from "../backend";
import { BitmapPicture, type Picture } from "../imaging/picture";
import { decodeImage } from "../imaging/reading";
import type { SavedEdits } from "../labels/edits";
import type { Context, Draft, Word } from "../labels/labeling";
import type { PackedLayer } from "../labels/layer";
import type { Point, Size } from "../labels/runs";
import type { Database } from "./database";
import type { QueuedEntry } from "./outbox";

export interface ProjectOptions {
  readonly model?: string;
  readonly parts: string;
  readonly threshold: number;
  readonly background: string | null;
  /** Files of taught words, which only a service has in its folder. */
  readonly taught?: readonly string[];
}

/** What `project.json` has, without where the images are. */
export interface Project {
  readonly name: string;
  readonly revision: number;
  readonly words: readonly Word[];
  readonly options: ProjectOptions;
}

export type Verdict = "accepted" | "sent back";

export interface Review {
  readonly verdict: Verdict;
  readonly comment: string;
  readonly by: string | null;
  readonly at: string | null;
}

/** The frame of a video that an image is. */
export interface VideoFrame {
  /** The name of its file. */
  readonly name: string;
  /** From 0. */
  readonly number: number;
  /** Since the start of the video [s]; null: it isn't known. */
  readonly time: number | null;
}

/** What there is to know of an image without opening it: `states/NAME.json`. */
export interface ImageState extends Size {
  /** Which image it is on a service; its name may be given to another one. */
  readonly id?: string;
  readonly image: string;
  /** Who labels it. */
  readonly person?: string | null;
  /** The id of the image of which it is a copy for a second person. */
  readonly copy_of?: string | null;
  /** null: it isn't of a video. */
  readonly frame?: VideoFrame | null;
  /** Grows with every change, and never comes twice; 0: nothing is known but the image. */
  readonly revision: number;
  /** Whether somebody is done with it: nothing changes its labels then. */
  readonly done: boolean;
  /** What a reviewer said of it after it was done; null: nothing, or it was done or reopened since. */
  readonly review?: Review | null;
  readonly by: string | null;
  readonly at: string | null;
  readonly source: "model" | "person" | "import" | null;
  /** What its labels by the model answer; null: there are none. */
  readonly answers: string | null;
  readonly corrected: number;
  /** Pixels of each word, by the words' ids. */
  readonly pixels: Readonly<Record<string, number>>;
  readonly unlabeled: number;
  /** Mean of 1 - confidence over the pixels that no person decided; null: there are none. */
  readonly uncertainty: number | null;
  /** The middle of where the model is least certain [px]. */
  readonly least_certain: Point | null;
  /** Objects of each word, by the words' ids; null: none were made. */
  readonly objects: Readonly<Record<string, number>> | null;
  /** The id of the last change. */
  readonly change?: string | null;
}

/** The labels of an image that is done, which nothing changes. */
export interface Settled {
  /** The words' ids, 65535 for none. */
  readonly labels: PackedLayer;
  /** The rule by which they were what they are, as a text; null: that isn't known. */
  readonly rule: string | null;
}

/** All that is known of an image's labels; words are their ids. */
export interface Work {
  readonly draft: Draft | null;
  readonly edits: SavedEdits | null;
  /** null: it isn't done. */
  readonly settled: Settled | null;
}

export const NO_WORK: Work = { draft: null, edits: null, settled: null };

export function newState(image: string, { width, height }: Size): ImageState {
  return {
    image,
    width,
    height,
    revision: 0,
    done: false,
    by: null,
    at: null,
    source: null,
    answers: null,
    corrected: 0,
    pixels: {},
    unlabeled: width * height,
    uncertainty: null,
    least_certain: null,
    objects: null,
  };
}

/** A file name without its ending: what files about the image are called. */
export function stem(name: string): string {
  return name.replace(/(?<=[^/])\.[^./]+$/, "") || "image";
}

/** A name whose files don't replace those of another image, whatever the case of its letters. */
export function uniqueName(name: string, others: Iterable<string>): string {
  const taken = new Set([...others].map((other) => stem(other).toLowerCase()));
  let found = name;
  for (let number = 2; taken.has(stem(found).toLowerCase()); number++)
    found = name.replace(/(?<=[^/])(\.[^./]*)?$/, `-${number}$1`);
  return found;
}

/** An image of a project, without its file. */
export interface ImageEntry {
  readonly id: string;
  readonly order: number;
  /** When it was removed [ms since 1970]; null: it wasn't. */
  readonly removed: number | null;
  readonly state: ImageState;
}

/** @param order its place among the images; without it, it is the last. */
export function imageEntry(state: ImageState, order = Number.MAX_SAFE_INTEGER): ImageEntry {
  return { id: state.id!, order, removed: null, state };
}

export interface OpenedProject {
  /** null: it is new. */
  readonly project: Project | null;
  readonly images: readonly ImageEntry[];
  /** Those that can be put back; the one that was removed last is the last. */
  readonly removed: readonly ImageEntry[];
}

/**
 * What changed about an image, all of which is kept, or nothing. Drafts and edits that are null are as they were; settled
 * labels that are null: the image isn't done any more.
 */
export interface Change extends Partial<Work> {
  readonly state: ImageState;
}

export function withChange(work: Work, { draft, edits, settled }: Partial<Work> = {}): Work {
  return {
    draft: draft ?? work.draft,
    edits: edits ?? work.edits,
    settled: settled === undefined ? work.settled : settled,
  };
}

/** What an API key may do; each role may do what those before it may. */
export const ROLES = ["read", "annotate", "administer"] as const;
export type Role = (typeof ROLES)[number];

/** What a store tells the page of what others do, and asks it. */
export interface Watcher {
  /** What labels come to now; what waits to be saved is handed over before it is told. */
  context(): Context;
  /** @param moved ids that words of this page have instead of those that it gave them. */
  onProject(project: Project, moved?: ReadonlyMap<number, number>): void;
  onAdded(entry: ImageEntry): void;
  onImproved(): void;
  /** Removed images can't be put back any more. */
  onEmptied(): void;
  onRemoved(id: string): void;
  /** An image is known to be in another state; `isOther`: somebody else changed it. */
  onState(id: string, state: ImageState, isOther: boolean): void;
  /** Changes of others and of this page were put together. */
  onWork(id: string, work: Work): void;
  /** Whether something is being painted in an image just now. */
  isBusy(id: string): boolean;
  /** Two people painted the same pixels: whose are kept? */
  choose(conflict: Conflict): Promise<Choice>;
  /** Something is wrong that the reader should know; null: it isn't any more. */
  onProblem(problem: string | null): void;
}

/** Two versions of an image that can't be put together without losing something. */
export interface Conflict {
  readonly id: string;
  readonly by: string | null;
  readonly isDone: boolean;
  readonly mine: Work;
  readonly theirs: Work;
}

/** What becomes of a conflict; both: the pixels of this page on those of the other version. */
export type Choice = "mine" | "theirs" | "both";

export abstract class Store {
  /** Whether others may change the project at the same time. */
  abstract readonly isShared: boolean;
  /** Changes that are safe in this browser, and wait for the service; a store in the browser has none. */
  readonly waiting: ReadonlySignal<number> = signal(0);
  /** Whether the service can't take them just now. */
  readonly isAway: ReadonlySignal<boolean> = signal(false);
  /** Changes that it refuses: they are kept, and hold up no other image's. */
  readonly refused: ReadonlySignal<readonly QueuedEntry[]> = signal([]);
  readonly role = signal<Role>("administer");
  protected watcher: Watcher | null = null;

  constructor(protected readonly database: Database) {}

  /** Whether a project is still there when the page is opened again. */
  get isLasting(): boolean {
    return this.database.isLasting;
  }

  abstract open(): Promise<OpenedProject>;

  watch(watcher: Watcher): void {
    this.watcher = watcher;
  }

  abstract saveProject(project: Project): Promise<void>;

  /**
   * Add an image.
   *
   * @param most most pixels that it may have; a project's service knows that itself.
   * @throws PageError the file isn't an image that can be read.
   */
  abstract add(file: File, name: string, order: number, most: number): Promise<ImageEntry>;
  /**
   * Add each `every`-th frame of a video.
   *
   * @throws PageError the video can't be read, or there is no service that reads videos.
   */
  addVideo(_file: File, _every: number, _order: number): Promise<ImageEntry[]> {
    return Promise.reject(new PageError("Frames of videos are added to the projects of a service: segvoc project import PROJECT --video FILE"));
  }
  abstract file(id: string): Promise<Blob>;
  abstract thumbnail(id: string): Promise<Blob>;
  /** @throws PageError it can't be read. */
  async picture({ id, state }: ImageEntry): Promise<Picture> {
    return new BitmapPicture(await decodeImage(await this.file(id), state.image));
  }

  /** The file to label: that of a large image is smaller. */
  scaled({ id }: ImageEntry): Promise<Blob> {
    return this.file(id);
  }

  abstract work(id: string): Promise<Work>;
  hold(_id: string | null): void {}
  /** Keep a change: once resolved, nothing loses it any more. */
  abstract save(entry: ImageEntry, change: Change): Promise<void>;
  /** Accept an image that is done, or send it back, so that it isn't done any more. */
  abstract review(entry: ImageEntry, verdict: Verdict, comment: string): Promise<void>;
  abstract saveRemoved(entry: ImageEntry): Promise<void>;
  /** Wait until the service has all changes but those that it refuses. @throws PageError it can't be reached. */
  async sent(): Promise<void> {}
  /** Give the pixels of a word to another one in all images, by their ids, and remove it. */
  abstract merge(word: number, into: number): Promise<void>;
  /** Delete removed images for good. */
  abstract forget(ids: readonly string[]): Promise<void>;

  may(role: Role): boolean {
    return ROLES.indexOf(this.role.value) >= ROLES.indexOf(role);
  }

  /** What the page keeps for itself: all settings; the image that is open; the files of taught words. */
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

type Setting = "all" | "current" | "taught";
