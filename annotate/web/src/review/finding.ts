/** Which images of a project are listed, and in which order. */

import type { ImageState } from "../project/structure";

/** What a person looks for among images. */
export interface Wanted {
  /** A part of the file's name, in any case; empty: any. */
  readonly text: string;
  readonly progress: Progress | "any";
  /** Id of a word that the image shows; null: any. */
  readonly word: number | null;
  readonly order: Order;
}

export type Order = "added" | "name" | "least certain";

/** How far an image is: each is in one of these. */
export type Progress = "not labeled" | "labeled" | "corrected" | "done";

export const EVERYTHING: Wanted = { text: "", progress: "any", word: null, order: "added" };

export function progressOf({ done, corrected, source, answers }: ImageState): Progress {
  if (done) return "done";
  if (corrected > 0) return "corrected";
  return source !== null || answers !== null ? "labeled" : "not labeled";
}

/** Whether an image is among those that are looked for. */
export function isWanted(state: ImageState, { text, progress, word }: Wanted): boolean {
  return (
    state.image.toLowerCase().includes(text.trim().toLowerCase()) &&
    (progress === "any" || progressOf(state) === progress) &&
    (word === null || (state.pixels[word] ?? 0) > 0)
  );
}

/**
 * Images in the order that is asked for; those of equal rank stay as they are.
 *
 * By certainty, those come first in which the model doubts most, then those that aren't labeled, and those that are done
 * last.
 */
export function ordered<Image>(images: readonly Image[], order: Order, stateOf: (image: Image) => ImageState): Image[] {
  const result = [...images];
  if (order === "name") {
    // as people count: 9.jpg before 10.jpg
    const { compare } = new Intl.Collator("en", { numeric: true });
    result.sort((one, other) => compare(stateOf(one).image, stateOf(other).image));
  }
  if (order === "least certain") {
    const doubt = (image: Image) => {
      const { done, uncertainty } = stateOf(image);
      return done ? -2 : (uncertainty ?? -1);
    };
    result.sort((one, other) => doubt(other) - doubt(one));
  }
  return result;
}
