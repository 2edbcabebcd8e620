/** Reads files of taught words: classifiers of words on a model's features, which `segvoc teach` writes. */

import { PageError } from "../backend";
import { CLASS_LOGITS, firstName, float16 } from "./feature_maps";
import { GROUPS, pyramidShapes, type FeaturePyramid } from "./feature_pyramid";

export const HEADER = "segvoc_taught";

export const FORMAT = 1;

const LARGEST_HEADER = 1 << 26;

const PYRAMID = "pyramid.";

/** What records may say: of all words, and of each. */
const FIELDS = {
  record:
    "model words channels images penalty miou_before miou accuracy_before accuracy segvoc pyramid_channels share edges temperature background unlabeled format",
  word: "name images pixels before after keeps_text",
};

/**
 * A word's classifier is s = W (x - mean) / scale + b, with features x of a cell; rows of `weights` are words.
 *
 * Fine-tuned words have a network of their own on the standardized features: s = W p(x) + b.
 */
export interface TaughtWords extends Required<Pick<TeachingRecord, Known>> {
  /** The words that have a classifier. */
  readonly words: readonly string[];
  /** All words that the images show, with those that keep their text alone. */
  readonly shown: readonly string[];
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  /** Mean features of a drawn image, by which a model is recognized. */
  readonly probe: Float32Array;
  /** What the words' embeddings are mixed with, in rows; null without a share. */
  readonly toward: Float32Array | null;
  /** The network on the features; null: there is none. */
  readonly pyramid: FeaturePyramid | null;
}

type Known = "model" | "channels" | "share" | "edges" | "temperature" | "background";

/** What the file says of its words, as far as the page reads it. */
interface TeachingRecord {
  readonly format?: number;
  readonly model: string;
  readonly words: readonly { readonly name: string; readonly keeps_text?: boolean }[];
  /** Of the feature maps that the classifiers read. */
  readonly channels: Readonly<Record<string, number>>;
  readonly pyramid_channels?: number;
  /** Share of the regions in the words' embeddings, in [0, 1). */
  readonly share?: number;
  /** Whether maps that follow the edges scored better. */
  readonly edges?: boolean;
  /** Temperature of the softmax that gives their confidence. */
  readonly temperature?: number;
  /** The class that means "none of the others", if it was learned: its logit is 0 in place of its text's. */
  readonly background?: string | null;
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** @throws PageError the file is no file of taught words, is damaged, or holds what the page can't apply. */
export function readTaughtWords(name: string, content: Uint8Array): TaughtWords {
  const foreign = new PageError(`“${name}” is no file of taught words, or a damaged one; segvoc teach writes them.`);
  const damaged = new PageError(`The taught words “${name}” are cut off or damaged; copy the file again, or teach again.`);
  if (content.length < 8) throw foreign;
  const length = Number(new DataView(content.buffer, content.byteOffset).getBigUint64(0, true));
  if (!(length > 0 && length <= Math.min(LARGEST_HEADER, content.length - 8))) throw foreign;
  const { record, entries } = header(content.subarray(8, 8 + length)) ?? {};
  if (!record || !entries) throw foreign;
  if ((record.format ?? FORMAT) !== FORMAT)
    throw new PageError(`“${name}” is of another version of segvoc; teach the words again with the one of this page.`);
  const shapes = shapesOf(record, entries);
  if (!shapes) throw damaged;
  const unknown = strangers(record, entries, shapes)[0];
  if (unknown !== undefined)
    throw new PageError(
      `“${name}” holds “${unknown.slice(0, 40)}”, which this page can't apply; export the page again with a newer segvoc.`,
    );
  const arrays: Record<string, Float32Array> = {};
  for (const [key, shape] of Object.entries(shapes)) {
    const values = entries[key] && decoded(entries[key], shape, content.subarray(8 + length));
    if (!values) throw damaged;
    arrays[key] = values;
  }
  const { weights, bias, mean, scale, probe, toward = null } = arrays;
  if (!scale.every((value) => value > 0)) throw damaged;
  const ofPyramid = Object.entries(arrays).filter(([key]) => key.startsWith(PYRAMID));
  const pyramid = Object.fromEntries(ofPyramid.map(([key, values]) => [key.slice(PYRAMID.length), values]));
  const { model, channels, share = 0, edges = false, temperature = 1, background = null } = record;
  const words = { words: taughtNames(record), shown: record.words.map(({ name }) => name) };
  const network = record.pyramid_channels ? (pyramid as FeaturePyramid) : null;
  const learned = { weights, bias, mean, scale, probe, toward, pyramid: network };
  return { model, channels, share, edges, temperature, background, ...words, ...learned };
}

function taughtNames({ words }: TeachingRecord): string[] {
  return words.filter((word) => !word.keeps_text).map((word) => word.name);
}

/** The shapes of the arrays that a record asks for; undefined: there can't be such arrays. */
function shapesOf(
  record: TeachingRecord,
  entries: Readonly<Record<string, Entry>>,
): Record<string, readonly number[]> | undefined {
  const { channels, share = 0, temperature = 1, pyramid_channels: own = 0 } = record;
  const words = taughtNames(record).length;
  const size = Object.values(channels).reduce((sum, count) => sum + count, 0);
  if (typeof share !== "number" || !(share >= 0 && share < 1)) return undefined;
  if (typeof temperature !== "number" || !(temperature > 0)) return undefined;
  if (!(Number.isInteger(own) && own >= 0 && own % GROUPS === 0)) return undefined;
  const ofWords = { weights: [words, own || size], bias: [words], mean: [size], scale: [size], probe: [size] };
  const ofRegions = share ? { toward: [words, entries["toward"]?.shape?.[1]] } : {};
  if (!own) return { ...ofWords, ...ofRegions };
  const coarse = channels[firstName(Object.keys(channels)) ?? ""];
  if (!coarse) return undefined;
  const shapes = pyramidShapes(own, coarse, size - coarse - (channels[CLASS_LOGITS] ?? 0));
  const ofPyramid = Object.entries(shapes).map(([key, shape]) => [PYRAMID + key, shape] as const);
  return { ...ofWords, ...ofRegions, ...Object.fromEntries(ofPyramid) };
}

/** What a file holds that nothing here reads. */
function strangers(record: TeachingRecord, entries: object, shapes: object): string[] {
  const beside = (one: object, known: readonly string[]) => Object.keys(one).filter((key) => !known.includes(key));
  const ofWords = record.words.flatMap((word) => beside(word, FIELDS.word.split(" ")));
  return [...beside(record, FIELDS.record.split(" ")), ...ofWords, ...beside(entries, Object.keys(shapes))];
}

/** The record and the arrays' entries of a file; undefined: it is another file. */
function header(content: Uint8Array): { record: TeachingRecord; entries: Record<string, Entry> } | undefined {
  try {
    const { __metadata__: metadata, ...entries } = JSON.parse(new TextDecoder().decode(content)) as Record<
      string,
      Entry
    > & { __metadata__: Record<string, string> };
    const record = JSON.parse(metadata[HEADER]) as TeachingRecord;
    const isText = (value: unknown) => typeof value === "string";
    const isCount = (value: unknown) => Number.isInteger(value) && (value as number) > 0;
    const fits =
      isText(record.model) &&
      record.words.every((word) => isText(word.name)) &&
      Object.values(record.channels).every(isCount) &&
      Object.values(entries).every((entry) => typeof entry === "object" && entry);
    return fits ? { record, entries } : undefined;
  } catch {
    return undefined;
  }
}

/** The values of an array; undefined: they aren't there, of another shape, or not finite. */
function decoded(
  { dtype, shape, data_offsets }: Entry,
  expected: readonly number[],
  data: Uint8Array,
): Float32Array | undefined {
  const bytes = { F32: 4, F16: 2 }[dtype];
  if (!bytes || !Array.isArray(shape) || !Array.isArray(data_offsets)) return undefined;
  if (shape.length !== expected.length || !expected.every((side, axis) => side === shape[axis])) return undefined;
  const [start, end] = data_offsets as unknown as readonly [number, number];
  const isPlace = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
  const count = shape.reduce((product: number, side: number) => product * side, 1) as number;
  if (![...shape, start, end].every(isPlace) || end - start !== count * bytes || end > data.length) return undefined;
  // the values needn't lie where an array of numbers may begin
  const own = data.slice(start, end).buffer;
  const values = bytes === 4 ? new Float32Array(own) : float16(new Uint16Array(own));
  return values.every(Number.isFinite) ? values : undefined;
}
