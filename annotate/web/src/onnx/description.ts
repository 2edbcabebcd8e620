/** What `segvoc.json` of an exported folder says. */

import { PageError } from "../backend";
import type { ConfidenceModel } from "./confidence";
import { halfToEven } from "../imaging/resize";

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
  /** Words for what surrounds a single word, and when a pixel is left to them; null: the word fills the image. */
  readonly background_words: BackgroundWords | null;
  /** How likely labels are right; null: their confidence is the sigmoid of their logit. */
  readonly confidence: ConfidenceModel | null;
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

export interface BackgroundWords {
  readonly words: readonly string[];
  /** Maximum cosine similarity to the word; more similar ones are synonyms of it. */
  readonly similarity: number;
  /** Probability below which a pixel isn't the word even if none of these is likelier. */
  readonly threshold: number;
  /** Minimum lead of the word over these [logits]. */
  readonly margin: number;
  /** Groups of much the same, of which the first competes in calls that fill the image; see `Rivals`. */
  readonly common: readonly (readonly string[])[];
  /** Words up to which a list may leave out what surrounds its things. */
  readonly most_open: number;
  /** Things that compete with their parts. */
  readonly wholes: readonly { readonly name: string; readonly parts: readonly string[]; readonly other_names: readonly string[] }[];
  /** How far a whole must be ahead of a part of it, and words that nobody asked for of all others [logits]. */
  readonly lead: number;
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
  /** Words of the same kind as words that the network was trained on. */
  readonly kinds: Readonly<Record<string, readonly string[]>>;
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

/** Selection by the protocol, for a number of words; words that were taught can't be dropped by their text. */
export function selectionInputs({ selection }: Protocol, words: number, isTaught: boolean): SelectionInputs {
  if (!selection || isTaught) return { least: words, share: 0, bySimilarity: false };
  const { keep, fraction, share, least, by } = selection;
  const wanted = share !== null ? least : fraction !== null ? Math.max(least, Math.ceil(fraction * words)) : words;
  return { least: Math.min(words, wanted, keep ?? words), share: share ?? 0, bySimilarity: by === "similarity" };
}

/** Height and width of the image encoder's input for an image of this size [px], as `Protocol.input_size`. */
export function inputSize({ size, multiple, squash, max_aspect }: Protocol, height: number, width: number): [number, number] {
  const ratio = Math.max(height, width) / Math.min(height, width);
  const kept = Math.min(Math.max(1, ratio / squash), max_aspect);
  const root = Math.sqrt(height > width ? kept : 1 / kept);
  const rounded = (side: number) => Math.max(multiple, halfToEven(side / multiple) * multiple);
  return [rounded(size * root), rounded(size / root)];
}
