/** What an image's labels come to with a project's words and rule. */

import type { Segmentation } from "../backend";
import { Edits } from "../labels/edits";
import { Labeling, NONE, type Rule, type Settled } from "../labels/labeling";
import type { Size } from "../labels/runs";
import { namedWork, withPaintable } from "./keeping";
import type { Work } from "./structure";
import { entryFor, lookedFor, type Vocabulary } from "./words";

/** The words and the rule that hold. */
export interface Context {
  readonly vocabulary: Vocabulary;
  readonly rule: Rule;
}

/** An image's labels, from what is kept of it. */
export function labelingOf(size: Size, work: Work, context: Context): Labeling {
  const { found, saved, settled } = namedWork(work, context.vocabulary);
  return labelingWith(found ?? nothingFound(size), new Edits(size.width, size.height, saved), settled, context);
}

/** An image's labels, which follow the corrections. */
export function labelingWith(
  found: Segmentation,
  edits: Edits,
  settled: Settled | null,
  { rule, vocabulary }: Context,
): Labeling {
  return new Labeling(withPaintable(found, lookedFor(vocabulary)), edits, rule, entryFor(vocabulary), settled);
}

/** What a model answers that finds nothing anywhere. */
function nothingFound({ width, height }: Size): Segmentation {
  const labels = new Uint16Array(width * height).fill(NONE),
    confidence = new Uint8Array(width * height);
  return { width, height, labels, confidence, words: [], parts: null, model: "", dtype: "", seconds: 0 };
}
