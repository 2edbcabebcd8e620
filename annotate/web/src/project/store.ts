/** Where a project lives: in the browser, or on a service. The page knows only this. */

import type { ReadonlySignal } from "@preact/signals";

import type { Context } from "./keeping";
import type { ImageState, KeptDraft, KeptEdits, Project, Work } from "./structure";

/** An image of a project, without its file. */
export interface ImageEntry {
  /** Differs from that of every other image. */
  readonly id: string;
  /** Place among the images. */
  readonly order: number;
  /** When it was removed [ms since 1970]; null: it wasn't. */
  readonly removed: number | null;
  readonly state: ImageState;
}

/** A project as it is opened. */
export interface OpenedProject {
  /** null: it is new. */
  readonly project: Project | null;
  readonly images: readonly ImageEntry[];
  /** Those that can be put back; the one that was removed last is the last. */
  readonly removed: readonly ImageEntry[];
}

/** What changed about an image; all of it is kept, or nothing. */
export interface Change {
  readonly state: ImageState;
  readonly draft?: KeptDraft;
  readonly edits?: KeptEdits;
  /** null: the image isn't done any more. */
  readonly settled?: Uint16Array | null;
}

/** What a store tells the page of what others do, and asks it. */
export interface Watcher {
  readonly context: () => Context;
  /** Words or options are others now. */
  onProject(project: Project): void;
  /** An image came. */
  onAdded(entry: ImageEntry): void;
  /** The model knows words by other examples now. */
  onImproved(): void;
  /** An image was removed. */
  onRemoved(id: string): void;
  /** An image is known to be in another state; `isOther`: somebody else changed it. */
  onState(id: string, state: ImageState, isOther: boolean): void;
  /** Changes of others and of this page were put together. */
  onWork(id: string, work: Work): void;
  /** Whether something is being painted in an image just now. */
  isBusy(id: string): boolean;
  /** Two people painted the same pixels: whose are kept? */
  choose(conflict: Conflict): Promise<Choice>;
  /** Something is wrong that the reader should know. */
  onProblem(problem: string | null): void;
}

/** Two versions of an image that can't be put together without losing something. */
export interface Conflict {
  readonly id: string;
  /** Who made the other one. */
  readonly by: string | null;
  /** Whether the other one is done. */
  readonly isDone: boolean;
  readonly mine: Work;
  readonly theirs: Work;
}

/** What becomes of a conflict; both: the pixels of this page on those of the other version. */
export type Choice = "mine" | "theirs" | "both";

export interface Store {
  /** Whether a project is still there when the page is opened again. */
  readonly isLasting: boolean;
  /** Changes that are safe in this browser, and wait for the service; a store in the browser has none. */
  readonly waiting: ReadonlySignal<number>;
  /** Whether the service can't take them just now. */
  readonly isAway: ReadonlySignal<boolean>;
  /** Whether others may change the project at the same time. */
  readonly isShared: boolean;
  open(): Promise<OpenedProject>;
  /** Tell the page from now on what others change. */
  watch(watcher: Watcher): void;
  saveProject(project: Project): Promise<void>;
  /**
   * Add an image.
   *
   * @param most most pixels that it may have; a project's service knows that itself.
   * @throws PageError the file isn't an image that can be read.
   */
  add(file: File, name: string, order: number, most: number): Promise<ImageEntry>;
  file(id: string): Promise<Blob>;
  thumbnail(id: string): Promise<Blob>;
  work(id: string): Promise<Work>;
  /** The image that is open; null: none is. */
  hold(id: string | null): void;
  /** Keep a change: once resolved, nothing loses it any more. */
  save(entry: ImageEntry, change: Change): Promise<void>;
  /** Remove an image, or put it back. */
  saveRemoved(entry: ImageEntry): Promise<void>;
  /** Delete images for good. */
  forget(ids: readonly string[]): Promise<void>;
  /** The whole project as a zip; null: the page makes it. */
  archive(): Promise<Blob> | null;
  /** What the page keeps for itself. */
  get(setting: Setting): Promise<unknown>;
  put(setting: Setting, value: unknown): Promise<void>;
  /** Write nothing any more, once what was begun is written. */
  close(): void;
}

/** All settings; the image that is open; the files of taught words. */
export type Setting = "all" | "current" | "taught";
