/** Reads files of taught words: classifiers of words on a model's features, which `segvoc teach` writes. */

import { PageError } from "../backend";
import { float16 } from "./float16";

/** Key of the entry in the file's metadata. */
const HEADER = "segvoc_taught";

/** Version of the file. */
const FORMAT = 1;

/** Bytes of the largest header that is read. */
const LARGEST_HEADER = 1 << 26;

/** A word's classifier is s = W (x - mean) / scale + b, with features x of a cell; rows of `weights` are words. */
export interface TaughtWords {
  /** Name of the model that they were taught to. */
  readonly model: string;
  /** The words that have a classifier. */
  readonly words: readonly string[];
  /** All words that the images show, with those that keep their text alone. */
  readonly shown: readonly string[];
  /** Channels of the feature maps that the classifiers read. */
  readonly channels: Readonly<Record<string, number>>;
  readonly weights: Float32Array;
  readonly bias: Float32Array;
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  /** Mean features of a drawn image, by which a model is recognized. */
  readonly probe: Float32Array;
}

/** What the file says of its words, as far as the page reads it. */
interface TeachingRecord {
  readonly format?: number;
  readonly model: string;
  readonly words: readonly { readonly name: string; readonly keeps_text?: boolean }[];
  readonly channels: Readonly<Record<string, number>>;
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** @throws PageError the file is no file of taught words, or damaged. */
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
  const arrays = new Map<string, Float32Array>();
  for (const [key, entry] of Object.entries(entries)) {
    const values = decoded(entry, content.subarray(8 + length));
    if (!values) throw damaged;
    arrays.set(key, values);
  }
  const words = record.words.filter((word) => !word.keeps_text).map((word) => word.name);
  const size = Object.values(record.channels).reduce((sum, count) => sum + count, 0);
  const sizes = { weights: words.length * size, bias: words.length, mean: size, scale: size, probe: size };
  const [weights, bias, mean, scale, probe] = Object.entries(sizes).map(([key, count]) => {
    const values = arrays.get(key);
    if (values?.length !== count) throw damaged;
    return values;
  });
  if (!scale.every((value) => value > 0)) throw damaged;
  const shown = record.words.map((word) => word.name);
  return { model: record.model, words, shown, channels: record.channels, weights, bias, mean, scale, probe };
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

/** The values of an array; undefined: they aren't there, or not finite. */
function decoded({ dtype, shape, data_offsets }: Entry, data: Uint8Array): Float32Array | undefined {
  const bytes = { F32: 4, F16: 2 }[dtype];
  if (!bytes || !Array.isArray(shape) || !Array.isArray(data_offsets)) return undefined;
  const [start, end] = data_offsets as unknown as readonly [number, number];
  const isPlace = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;
  const count = shape.reduce((product: number, side: number) => product * side, 1) as number;
  if (![...shape, start, end].every(isPlace) || end - start !== count * bytes || end > data.length) return undefined;
  // the values needn't lie where an array of numbers may begin
  const own = data.slice(start, end).buffer;
  const values = bytes === 4 ? new Float32Array(own) : float16(new Uint16Array(own));
  return values.every(Number.isFinite) ? values : undefined;
}
