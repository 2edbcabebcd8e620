/** Small labeled images for the tests. */

import type { Segmentation } from "../src/backend";
import { wordColor } from "../src/imaging/palette";
import { Edits } from "../src/labels/edits";
import { type Context, type Draft, Labeling, NONE, type Rule } from "../src/labels/labeling";
import { type ZippedFile, zipped } from "../src/saving/zip";

export const ALL: Rule = { threshold: 0, background: null };

/** Labels from rows of digits; a dot is no word. */
export function map(...rows: readonly string[]): { labels: Uint16Array; width: number; height: number } {
  const labels = Uint16Array.from(rows.join(""), (digit) => (digit === "." ? NONE : Number(digit)));
  return { labels, width: rows[0].length, height: rows.length };
}

/** What a back end may have answered: confidence is that of all pixels, in [0, 1]. */
export function found(rows: readonly string[], words: readonly string[], confidence = 0.8): Segmentation {
  const image = map(...rows);
  const certain = new Uint8Array(image.labels.length).fill(Math.round(255 * confidence));
  return { ...image, confidence: certain, words, parts: null, model: "tiny", dtype: "float32", seconds: 0.12345, quality: null };
}

/** The same by the ids of some words. */
export function draft(rows: readonly string[], ids: readonly number[], confidence?: number): Draft {
  const { labels, ...answer } = found(rows, [], confidence);
  return { ...answer, labels: labels.map((label) => (label === NONE ? NONE : ids[label])), words: ids };
}

/** Words with the ids 0, 1, ... or others, and a rule. */
export function context(names: readonly string[] = [], rule: Rule = ALL, ids: readonly number[] = [...names.keys()]): Context {
  return { vocabulary: names.map((name, at) => ({ id: ids[at], name, color: wordColor(ids[at]), removed: false })), rule };
}

/** @param ids numbers of the words in the project. */
export function labeling(rows: readonly string[], words: readonly string[], rule = ALL, ids: readonly number[] = [...words.keys()]): Labeling {
  const answer = draft(rows, ids);
  return new Labeling(answer, new Edits(answer.width, answer.height), context(words, rule, ids));
}

/** Whole numbers below others, the same in each run. */
export function seeded(seed = 7): (below: number) => number {
  return (below) => (seed = (seed * 48271) % 2147483647) % below;
}

/** Labels as rows of digits. */
export function rows(labels: Uint16Array, width: number): string[] {
  const text = Array.from(labels, (label) => (label === NONE ? "." : String(label))).join("");
  return text.match(new RegExp(`.{${width}}`, "g")) ?? [];
}

/** The bytes of a zip. */
export async function zip(files: Readonly<Record<string, ZippedFile["input"]>>): Promise<Uint8Array<ArrayBuffer>> {
  const content = await zipped(Object.entries(files).map(([name, input]) => ({ name, input })));
  return new Uint8Array(await content.arrayBuffer());
}
