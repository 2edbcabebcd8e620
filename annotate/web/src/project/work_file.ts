/** The file `work/NAME.zip` of an image: its state and PNGs of ids, from which everything else about it is derived. */

import { decode } from "fast-png";

import type { PartMap } from "../backend";
import { editsOf, idsOf } from "../labels/edits";
import { type Context, type Draft, NONE, type Rule, textOf } from "../labels/labeling";
import { packed, unpackedPart, valuesOf } from "../labels/layer";
import { objectMap } from "../labels/objects";
import type { Size } from "../labels/runs";
import { grayPng, labelMapPng, labelsOfMap, savedObjects } from "../saving/maps";
import { type Unzipped, unzipped, zipped } from "../saving/zip";
import { labelingOf, renumbered } from "./keeping";
import type { ImageState, Work } from "./structure";
import { colorsById, lookedFor, mergedIds, type Vocabulary } from "./words";

/** The text of `parts.png` that says what the parts are. */
const PARTS = "segvoc parts";

/** Labels are worked on, not kept for years: they are packed fast. */
const FAST = { zlib: { level: 1 } } as const;

/** Pixels from which on the rows that changed are sent, instead of all. */
const LARGE = 4e6;

export function isLarge({ width, height }: Size): boolean {
  return width * height >= LARGE;
}

/** Rows of an image, from one up to another that isn't included. */
export type Rows = readonly [top: number, bottom: number];

/**
 * @param hasDraft whether the draft is in the file; the service keeps the one that it has.
 * @param rows those of which labels and corrections are in the file; null: all.
 */
export async function encodeWork(
  state: ImageState,
  work: Work,
  context: Context,
  hasDraft = true,
  rows: Rows | null = null,
): Promise<Uint8Array<ArrayBuffer>> {
  const { draft } = work;
  const size = rows ? { width: state.width, height: rows[1] - rows[0] } : state;
  const labeling = labelingOf(size, rows ? inRows(work, state, rows) : work, context);
  const objects = objectMap(labeling);
  const files = {
    "state.json": JSON.stringify(state),
    "corrections.png": grayPng(labeling.edits.layer, size, FAST),
    ...(hasDraft && draft && {
      "draft.png": grayPng(draft.labels, draft, FAST),
      "confidence.png": grayPng(draft.confidence, draft, FAST),
      ...(draft.parts && { "parts.png": partsPng(draft.parts, draft) }),
    }),
    ...(objects && { "objects.png": grayPng(objects, state, FAST) }),
    "labels.png": labelMapPng(labeling.labels, size, colorsById(context.vocabulary), FAST),
  };
  const zip = await zipped(Object.entries(files).map(([name, input]) => ({ name, input })));
  return new Uint8Array(await zip.arrayBuffer());
}

/** The work on some rows of an image that isn't done, without objects. */
function inRows({ draft, edits }: Work, { width, height }: Size, [top, bottom]: Rows): Work {
  const pixels = width * (bottom - top);
  const part = { labels: new Uint16Array(pixels), confidence: new Uint8Array(pixels) };
  const columns = Int32Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * (draft?.width ?? 0)) / width));
  for (let at = 0, y = top; draft && y < bottom; y++) {
    const row = Math.floor(((y + 0.5) * draft.height) / height) * draft.width;
    for (let x = 0; x < width; x++, at++) {
      part.labels[at] = draft.labels[row + columns[x]];
      part.confidence[at] = draft.confidence[row + columns[x]];
    }
  }
  return {
    draft: draft && { ...draft, ...part, parts: null, width, height: bottom - top },
    edits: edits && editsOf(packed(unpackedPart(edits.layer, width * top, width * bottom))),
    settled: null,
  };
}

/** The map of ids that other programs read. */
export function labelsPng(labels: Uint16Array, size: Size, vocabulary: Vocabulary): Uint8Array<ArrayBuffer> {
  return labelMapPng(labels, size, colorsById(vocabulary));
}

/** The index of each pixel's part, with what the parts are as JSON in a text of the PNG. */
function partsPng({ labels, names, colors }: PartMap, size: Size): Uint8Array<ArrayBuffer> {
  // such texts have no letters beyond Latin ones
  const escaped = (letter: string) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const about = JSON.stringify({ names, colors }).replace(/[\u0080-\uffff]/g, escaped);
  return grayPng(labels, size, { ...FAST, text: { [PARTS]: about } });
}

/** Parts of such a file; null: it has none, or is of no use. */
function partsOf(png: Uint8Array | undefined, size: Size): PartMap | null {
  if (!png) return null;
  try {
    const { names, colors } = JSON.parse(decode(png).text[PARTS]) as Pick<PartMap, "names" | "colors">;
    const labels = plane(png, size).map((part) => (part < Math.min(names.length, colors.length) ? part : NONE));
    return { names, colors, labels };
  } catch {
    return null;
  }
}

export interface DecodedWork {
  readonly state: ImageState;
  readonly work: Work;
  /** Ids of the words that its pixels have. */
  readonly ids: readonly number[];
  /** The rule by which its label map is what its work comes to, as a text; null: that isn't known. */
  readonly madeBy: string | null;
}

/**
 * What a file of an image has. @throws Error it isn't such a file.
 *
 * @param rule by which it is told whether the label map of a large image is current; null: it isn't told.
 */
export async function decodeWork(content: Uint8Array, vocabulary: Vocabulary, rule: Rule | null = null): Promise<DecodedWork> {
  const files = await unzipped(content);
  if (!files["state.json"] || !files["labels.png"]) throw new Error("a file of its work is missing");
  const state = JSON.parse(new TextDecoder().decode(files["state.json"])) as ImageState;
  const labels = plane(files["labels.png"], state);
  const corrections = files["corrections.png"] ? plane(files["corrections.png"], state, false) : null;
  const objects = files["objects.png"] ? savedObjects(plane(files["objects.png"], state, false), labels) : { layer: null, ids: [] };
  const edits = corrections && editsOf(packed(corrections), objects);
  const corrected = corrections ? idsOf(corrections) : [];
  const draft = draftOf(files, state, vocabulary, state.answers === null ? corrected : []);
  const ids = new Set([...valuesOf(labels), ...valuesOf(draft?.labels ?? []), ...corrected]);
  ids.delete(NONE);
  const isAsked = rule !== null && isLarge(state);
  const now = isAsked && labelingOf(state, { draft, edits, settled: null }, { vocabulary, rule }).labels;
  const isCurrent = now && now.every((label, at) => label === labels[at]);
  const madeBy = isCurrent ? textOf(rule) : null;
  const settled = state.done ? { labels: packed(labels), rule: madeBy } : null;
  return { state, work: renumbered({ draft, edits, settled }, mergedIds(vocabulary)), ids: [...ids], madeBy };
}

/** @param painted ids of words that people painted: without an answer of a model, these are all the words there are. */
function draftOf(files: Unzipped, state: ImageState, vocabulary: Vocabulary, painted: readonly number[]): Draft | null {
  if (!files["draft.png"] || !files["confidence.png"]) return null;
  // that of a large image is smaller
  const size = decode(files["confidence.png"]);
  const labels = plane(files["draft.png"], size);
  const confidence = Uint8Array.from(size.data);
  // words that were looked for come first, as an answer has them
  const words = new Set([...lookedFor(vocabulary).map(({ id }) => id), ...valuesOf(labels), ...painted]);
  words.delete(NONE);
  const { width, height } = size;
  const parts = partsOf(files["parts.png"], size);
  const answered = { parts, model: modelOf(state), dtype: "", seconds: 0, quality: null };
  return { width, height, labels, confidence, words: [...words], ...answered };
}

/** The id of the frame whose words and objects a draft took over; null: none. The service makes such drafts. */
export function carriedFrom({ answers }: Pick<ImageState, "answers">): string | null {
  return /^\{"carried_from": "([^"]*)"/.exec(answers ?? "")?.[1] ?? null;
}

/** The model that the page asked, of which a work file tells no more than this. */
function modelOf({ answers }: ImageState): string {
  try {
    const [, model] = JSON.parse(answers ?? "") as [unknown, unknown];
    return typeof model === "string" ? model : "";
  } catch {
    return "";
  }
}

/** @param isMap whether 255 of 8 bits is no word, as in label maps. */
function plane(png: Uint8Array, { width, height }: Size, isMap = true): Uint16Array<ArrayBuffer> {
  const image = decode(png);
  if (image.channels !== 1 || image.width !== width || image.height !== height)
    throw new Error(`a map isn't one of ${width} × ${height} pixels`);
  return isMap ? labelsOfMap(image) : new Uint16Array(image.data);
}
