/** What `segvoc.json` of an exported folder says. */

import { PageError } from "../backend";
import { halfToEven } from "../imaging/resize";
import type { WordLists } from "./lexicon";

export interface Description {
  readonly format: number;
  readonly name: string;
  /** Precision of most weights, such as "float32". */
  readonly dtype: string;
  /** The program from pixels to features. */
  readonly image: string;
  /** Programs from features and words to logits, by the cells over which class aggregation pools. */
  readonly words: readonly { readonly pooling: readonly number[]; readonly program: string }[];
  /** How words become embeddings; null for a fixed vocabulary. */
  readonly text: Text | null;
  /** Whether words are sorted into objects and parts first. */
  readonly has_parts: boolean;
  readonly decision: Rules;
  /** Files of the decision as programs, by their names. */
  readonly decision_programs: Readonly<Record<string, string>>;
  readonly lexicon: WordLists;
  readonly protocols: Readonly<Record<string, Protocol>>;
  readonly taught?: readonly string[];
  /** Every other file of the folder. */
  readonly files: Readonly<Record<string, { readonly bytes: number }>>;
}

/** `ClassSelection` of segvoc: at most `keep` words, a fraction of them, or the fewest with a share of the votes. */
export interface ClassSelection {
  readonly keep: number | null;
  readonly fraction: number | null;
  readonly share: number | null;
  readonly least: number;
  readonly by: "votes" | "similarity";
}

/** The words of `Decision` of segvoc; what it does with them, its programs know. */
export interface Rules {
  /** Words for what surrounds a single word, and the score below which a pixel isn't the word even without them. */
  readonly stand_ins: { readonly words: readonly string[]; readonly threshold: number } | null;
  /** Groups of much the same, of which the first competes in calls that fill the image. */
  readonly common: readonly (readonly string[])[];
  /** Things that compete with their parts. */
  readonly wholes: readonly string[];
  /** Windows that the confidence was fitted for. */
  readonly windows: readonly string[];
}

export interface Text {
  readonly program: string;
  readonly tokenizer: string;
  readonly max_tokens: number;
  /** Whether short prompts are always filled to `max_tokens`; missing in files of older versions: they aren't. */
  readonly whole?: boolean;
  readonly padding: number;
  /** Prompts for a word, in which "{}" stands for it. */
  readonly templates: readonly string[];
  /** Whether a word has the mean of its prompts' embeddings, instead of one for each. */
  readonly average: boolean;
  readonly unit_length: boolean;
}

/** Preprocessing of an image; the page takes protocols with one view of the whole image. */
export interface Protocol {
  readonly size: number;
  readonly multiple: number;
  readonly squash: number;
  readonly max_aspect: number;
  readonly loader: object | null;
  readonly pad_to: number;
  readonly sliding: object | null;
  readonly pooling: readonly number[];
  /** Which words to refine; null: all. */
  readonly selection: ClassSelection | null;
  readonly sigmoid_first: boolean;
}

/** The program's inputs for class selection. */
export interface SelectionInputs {
  readonly least: number;
  /** Share of the votes that the kept words hold, in [0, 1]. */
  readonly share: number;
  readonly bySimilarity: boolean;
  /** How many of the first words compete to be kept; the others are kept as long as any of these. */
  readonly objects: number;
}

/** Read the description, and refuse models that need more than the page can do. */
export function checkedDescription(content: unknown): Description {
  const description = content as Description;
  if (description?.format !== 1)
    throw new PageError("The model has a format that this page doesn't know; export both again with one segvoc.");
  if (!description.text)
    throw new PageError("The model has fixed words, which this page can't ask for; export it without a words file.");
  const auto = description.protocols["auto"];
  const hasOneView = auto.size > 0 && !auto.loader && !auto.sliding && !auto.sigmoid_first && auto.pad_to === 1;
  if (description.has_parts || !hasOneView)
    throw new PageError(`This page can't run ${description.name}, which needs several views or parts; export another.`);
  return description;
}

/** The program that refines words with the pooling of a protocol. */
export function wordsProgram({ words }: Description, { pooling }: Protocol): string {
  const found = words.find((entry) => entry.pooling.join() === pooling.join());
  if (!found) throw new PageError("The model's folder lacks the program for its protocol; export it again.");
  return found.program;
}

/**
 * Selection by the protocol, for numbers of words: those that nobody asked for take no place of a number to keep, but vote
 * where votes decide it, of which at least some are kept. Words that were taught can't be dropped by their text.
 */
export function selectionInputs(
  { selection }: Protocol,
  asked: number,
  unasked: number,
  isTaught: boolean,
  minimum = 0,
): SelectionInputs {
  const all = asked + unasked;
  if (!selection || isTaught) return { least: all, share: 0, bySimilarity: false, objects: all };
  const { keep, fraction, share, least, by } = selection, objects = share === null ? asked : all;
  const wanted = share !== null ? Math.max(least, minimum) : fraction !== null ? Math.max(least, Math.ceil(fraction * objects)) : objects;
  return { least: Math.min(objects, wanted, keep ?? objects), share: share ?? 0, bySimilarity: by === "similarity", objects };
}

/** Height and width of the image encoder's input for an image of this size [px], as `Protocol.input_size`. */
export function inputSize({ size, multiple, squash, max_aspect }: Protocol, height: number, width: number): [number, number] {
  const ratio = Math.max(height, width) / Math.min(height, width);
  const kept = Math.min(Math.max(1, ratio / squash), max_aspect);
  const root = Math.sqrt(height > width ? kept : 1 / kept);
  const rounded = (side: number) => Math.max(multiple, halfToEven(side / multiple) * multiple);
  return [rounded(size * root), rounded(size / root)];
}
