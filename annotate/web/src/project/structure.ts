/**
 * A project: images, words with ids that stay, and for each image what the model found, what people corrected and
 * whether it is done. Folders, zips, the service and the browser all keep this structure.
 */

import type { Segmentation } from "../backend";
import type { Color } from "../imaging/palette";
import type { SavedEdits } from "../labels/edits";
import type { SavedObjects } from "../labels/layer";
import type { Size } from "../labels/runs";

/** A word of a project. */
export interface ProjectWord {
  /** Never given to another word. */
  readonly id: number;
  /** With its synonyms after ", ". */
  readonly name: string;
  readonly color: Color;
  /** Whether it isn't looked for, or no longer: labels may still have it. */
  readonly removed: boolean;
}

/** How images are labeled. */
interface ProjectOptions {
  readonly model?: string;
  readonly synonyms: "first" | "average";
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
  readonly words: readonly ProjectWord[];
  readonly options: ProjectOptions;
}

/** What there is to know of an image without opening it: `states/NAME.json`. */
export interface ImageState extends Size {
  /** Its file's name. */
  readonly image: string;
  /** Grows by one with every change; 0: nothing is known but the image. */
  readonly revision: number;
  /** Whether somebody is done with it: nothing changes its labels then. */
  readonly done: boolean;
  readonly by: string | null;
  readonly at: string | null;
  readonly source: "model" | "person" | "import" | null;
  /** What its labels by the model answer; null: there are none. */
  readonly answers: string | null;
  /** Pixels that a person decided. */
  readonly corrected: number;
  /** Pixels of each word, by the words' ids. */
  readonly pixels: Readonly<Record<string, number>>;
  readonly unlabeled: number;
  /** Mean of 1 - confidence over the pixels that no person decided; null: there are none. */
  readonly uncertainty: number | null;
  /** The middle of where the model is least certain [px]. */
  readonly least_certain: { readonly x: number; readonly y: number } | null;
  /** Objects of each word, by the words' ids; null: none were made. */
  readonly objects: Readonly<Record<string, number>> | null;
}

/** An answer of a back end, as it is kept: its words are known by their ids. */
export interface KeptDraft extends Omit<Segmentation, "words"> {
  readonly ids: readonly number[];
}

/** Corrections as they are kept; what a pixel has is a place in `ids`, counted from 1, and 0 for what the model found. */
export interface KeptEdits extends Pick<SavedEdits, "layer" | "done" | "undone"> {
  /** Ids of words; null: no word. */
  readonly ids: readonly (number | null)[];
  readonly objects: KeptObjects;
}

/** Objects as they are kept. */
interface KeptObjects extends Pick<SavedObjects, "layer"> {
  /** Ids of the words of the objects 1, 2, ...; null: such an object has no pixels. */
  readonly ids: readonly (number | null)[];
}

/** Everything about an image that going on with it needs. */
export interface Work {
  readonly draft: KeptDraft | null;
  readonly edits: KeptEdits | null;
  /** The words' ids in the labels of an image that is done, 65535 for none. */
  readonly settled: Uint16Array | null;
}

/** The state of an image that just came. */
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
