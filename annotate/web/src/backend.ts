/** What labels images for the page: a network in the page itself, or a service. The page knows only this. */

import type { Box, Size } from "./labels/runs";

/** An image: upright, opaque RGBA in [0, 255], row by row. */
export interface Pixels extends Size {
  readonly data: Uint8ClampedArray;
}

/** An image file; its size is that of the upright image [px]. */
export interface ImageSource extends Size {
  /** Differs from that of every other image; a back end may keep what it computed for it. */
  readonly id: string;
  readonly name: string;
  file(): Promise<Blob>;
  /** The file to label: that of a large image is smaller. */
  scaled(): Promise<Blob>;
  /** Decode the file; few images fit into memory at once. */
  pixels(): Promise<Pixels>;
  /** A rectangle, with at least so many pixels as far as the image has them. */
  part(box: Box, least: Size): Promise<Pixels>;
}

export interface Query {
  /** One for each class, all different; ", " inside a word separates synonyms. */
  readonly words: readonly string[];
  /** Parts of objects, such as "dog: head, leg; *: tail"; empty: none. */
  readonly parts: string;
  /** Files of taught words to apply beside the model's own, by their ids; of a word in several, the last counts. */
  readonly taught: readonly string[];
}

/** Words that a model knows by examples, too. */
export interface TaughtFile {
  /** Equal for files with equal contents. */
  readonly id: string;
  /** Name of the file; empty: not known. */
  readonly name: string;
  readonly words: readonly string[];
}

/** A labeled image; the arrays have one value for each pixel, row by row. */
export interface Segmentation extends Size {
  /** Index into `words` of each pixel's word; 65535: none. */
  readonly labels: Uint16Array;
  /** Probability of that word: 255 is 1. */
  readonly confidence: Uint8Array;
  /** The words of the query, and after them objects that only its parts name. */
  readonly words: readonly string[];
  /** null: no parts were asked for. */
  readonly parts: PartMap | null;
  readonly model: string;
  readonly dtype: string;
  /** Time spent on the image and its words [s]. */
  readonly seconds: number;
  /** Expected share of right pixels; null: the confidence is no probability, or the answer isn't fresh. */
  readonly quality: number | null;
}

export interface PartMap {
  readonly names: readonly PartName[];
  /** Index into `names` of each pixel's part; 65535: none. */
  readonly labels: Uint16Array;
  readonly colors: readonly (readonly number[])[];
}

export interface PartName {
  /** null: of any object. */
  readonly object: string | null;
  readonly part: string;
  /** Such as "dog's head". */
  readonly name: string;
}

export interface ModelInfo {
  readonly name: string;
  readonly hasParts: boolean;
  /** Where and how it runs, in a few words for the reader. */
  readonly place: string;
  /** The words that it was taught before the reader came. */
  readonly taught: readonly TaughtFile[];
  readonly mostPixels: number;
}

/** Called while a model loads, with the share that is there, in [0, 1]. */
export type Progress = (share: number) => void;

export interface Backend {
  /** Images that it labels at the same time. */
  readonly atOnce: number;
  /** Get ready; once resolved, nothing more is fetched by a back end inside the page. May be called again. */
  load(progress: Progress): Promise<ModelInfo>;
  /**
   * Label every pixel with one of the words.
   *
   * @param signal ends the request early.
   * @throws PageError one sentence that says what is wrong and how to fix it.
   */
  segment(image: ImageSource, query: Query, signal: AbortSignal): Promise<Segmentation>;
  /**
   * Take a file of taught words, which queries name by its id from then on; a back end without this takes none.
   *
   * @throws PageError it is no such file, or for another model.
   */
  teach?(name: string, content: Uint8Array): Promise<TaughtFile>;
}

/** An error whose message is one plain sentence for the reader of the page. */
export class PageError extends Error {
  override readonly name: string = "PageError";
}

/** A failure that may pass by itself, such as that of a service that is being restarted. */
export class TransientError extends PageError {
  override readonly name = "TransientError";
}

/** The service asks for a key, or doesn't take the one that it got. */
export class KeyError extends PageError {
  override readonly name = "KeyError";
}

/** The reader's key isn't for this. */
export class RoleError extends PageError {
  override readonly name = "RoleError";
}

/** What the reader of the page is told about a failure. */
export function sentence(failure: unknown): string {
  if (failure instanceof PageError) return failure.message;
  return `Something went wrong (${failure instanceof Error ? failure.message : String(failure)}); load the page again.`;
}
