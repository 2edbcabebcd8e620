/** The file `work/NAME.zip` of an image: its state and PNGs of ids, from which everything else about it is derived. */

import { decode } from "fast-png";

import type { PartMap } from "../backend";
import { type Labeling, NONE } from "../labels/labeling";
import { empty, mapped, packed, type PackedLayer, unpacked } from "../labels/layer";
import { objectMap } from "../labels/objects";
import type { Size } from "../labels/runs";
import { grayPng, labelMapPng, labelsOfMap, savedObjects } from "../saving/maps";
import { type Unzipped, unzipped, zipped } from "../saving/zip";
import { type Context, indexed, labelingOf, withIds } from "./keeping";
import type { ImageState, KeptDraft, KeptEdits, Work } from "./structure";
import { colorsById, type Vocabulary } from "./words";

/** What `corrections.png` has: nobody decided; no word; and the first id. */
const NO_WORD = 1;
export const FIRST_WORD = 2;

/** The text of `parts.png` that says what the parts are. */
const PARTS = "segvoc parts";

/** Labels are worked on, not kept for years: they are packed fast. */
const FAST = { zlib: { level: 1 } } as const;

/** For each pixel 0, where nobody decided, 1 for no word, or its word's id + 2. */
export function correctionsOf(edits: KeptEdits | null, { width, height }: Size): PackedLayer {
  if (!edits) return empty(width * height);
  const values = [0, ...edits.ids.map((id) => (id === null ? NO_WORD : id + FIRST_WORD))];
  return mapped(edits.layer, (code) => values[code]);
}

/** Corrections without a history. */
export function editsOf(corrections: Uint16Array, objects: KeptEdits["objects"]): KeptEdits {
  const { labels, ids: values } = indexed(corrections, [0]);
  const ids = values.slice(1).map((value) => (value === NO_WORD ? null : value - FIRST_WORD));
  return { layer: packed(labels), ids, done: [], undone: [], objects };
}

/** What the model found as it is in files: it changes less often than all else. */
const packedDrafts = new WeakMap<KeptDraft, Unzipped>();

export async function encodeWork(state: ImageState, work: Work, context: Context): Promise<Uint8Array<ArrayBuffer>> {
  const labeling = labelingOf(state, work, context);
  const objects = objectMap(labeling);
  const files = {
    "state.json": JSON.stringify(state),
    "corrections.png": grayPng(unpacked(correctionsOf(work.edits, state)), state, FAST),
    ...(work.draft && draftFiles(work.draft)),
    ...(objects && { "objects.png": grayPng(objects, state) }),
    "labels.png": labelsPng(labeling, context.vocabulary),
  };
  const zip = await zipped(Object.entries(files).map(([name, input]) => ({ name, input })));
  return new Uint8Array(await zip.arrayBuffer());
}

/** The map of ids that other programs read. */
export function labelsPng(labeling: Labeling, vocabulary: Vocabulary): Uint8Array<ArrayBuffer> {
  return labelMapPng(withIds(labeling.labels, labeling.ids), labeling, colorsById(vocabulary));
}

function draftFiles(draft: KeptDraft): Unzipped {
  const known = packedDrafts.get(draft);
  if (known) return known;
  const files = {
    "draft.png": grayPng(withIds(draft.labels, draft.ids), draft, FAST),
    "confidence.png": grayPng(draft.confidence, draft, FAST),
    ...(draft.parts && { "parts.png": partsPng(draft.parts, draft) }),
  };
  packedDrafts.set(draft, files);
  return files;
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

/** What a file of an image has. @throws Error it isn't such a file. */
export async function decodeWork(content: Uint8Array, vocabulary: Vocabulary) {
  const files = await unzipped(content);
  if (!files["state.json"] || !files["labels.png"]) throw new Error("a file of its work is missing");
  const state = JSON.parse(new TextDecoder().decode(files["state.json"])) as ImageState;
  const labels = plane(files["labels.png"], state);
  const corrections = files["corrections.png"] ? plane(files["corrections.png"], state) : null;
  const objects = files["objects.png"] ? savedObjects(files["objects.png"], labels, state) : { layer: null, ids: [] };
  const edits = corrections && editsOf(corrections, objects);
  return {
    state,
    work: { draft: keptDraft(files, state, vocabulary, edits), edits, settled: state.done ? labels : null },
  };
}

function keptDraft(
  files: Unzipped,
  state: ImageState,
  vocabulary: Vocabulary,
  edits: KeptEdits | null,
): KeptDraft | null {
  if (!files["draft.png"] || !files["confidence.png"]) return null;
  const draft = plane(files["draft.png"], state);
  const confidence = Uint8Array.from(decode(files["confidence.png"]).data);
  // words that were looked for come first, as an answer has them
  const looked = vocabulary.filter(({ removed }) => !removed).map(({ id }) => id);
  const { ids, labels } = indexed(draft, looked);
  // without an answer of a model, what is painted are all the words there are
  const painted = (state.answers === null && edits?.ids) || [];
  const all = [...new Set([...ids, ...painted.filter((id) => id !== null)])];
  const { width, height } = state;
  const parts = partsOf(files["parts.png"], state);
  return { width, height, labels, confidence, ids: all, parts, model: modelOf(state), dtype: "", seconds: 0 };
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

function plane(png: Uint8Array, { width, height }: Size): Uint16Array<ArrayBuffer> {
  const image = decode(png);
  if (image.channels !== 1 || image.width !== width || image.height !== height)
    throw new Error(`a map isn't one of ${width} × ${height} pixels`);
  return labelsOfMap(image);
}
