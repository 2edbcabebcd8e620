/** What a person decided in one image, words and objects, with undo and redo. */

import { empty, Layer, mapped, type PackedLayer, STRETCH, valuesOf } from "./layer";
import { type Box, boxOf, joined, rowsOf, type Runs } from "./runs";

/** Bytes of history that are kept for an image; older steps can't be undone. */
const MOST_HISTORY = 16e6;

/** Most objects that an image can have in its history. */
const MOST_OBJECTS = 65535;

/** What a pixel is given: the id of a word; null, no word; undefined, what the model found. */
export type Choice = number | null | undefined;

/** What a layer of corrections has, here and in `corrections.png`: nobody decided; no word; and the word with id 0. */
const UNDECIDED = 0,
  NO_WORD = 1;
export const FIRST_WORD = 2;

/** Added to a correction that gives way to clicks: its region got it as a whole. */
const LOOSE = 0x8000;

/** How a pixel was decided: drawn by hand or clicked, or with the whole region that the model found. */
export type Strength = "firm" | "loose";

function codeOf(choice: Choice, strength: Strength): number {
  if (choice === undefined) return UNDECIDED;
  return (choice === null ? NO_WORD : choice + FIRST_WORD) + (strength === "loose" ? LOOSE : 0);
}

/** The id of the word that a correction gives; null: none. */
export function wordOf(code: number): number | null {
  const word = (code & ~LOOSE) - FIRST_WORD;
  return word < 0 ? null : word;
}

/** The ids of the words in a layer of corrections. */
export function idsOf(layer: Uint16Array): number[] {
  return [...new Set(valuesOf(layer).flatMap((code) => wordOf(code) ?? []))];
}

export interface Change {
  /** Where something changed, words or objects. */
  readonly box: Box;
  /** Start, length, what the pixels had before and what they have after it: four numbers for each stretch of a row. */
  readonly runs: Int32Array;
  /** Pixels that an undo or redo left alone, since somebody changed them meanwhile. */
  readonly left: number;
}

/** Stretches of words and of objects, four numbers each as in a `Change`. */
interface Step {
  readonly runs: Int32Array;
  readonly objects: Int32Array;
}

const NO_RUNS = new Int32Array();

export interface SavedEdits {
  /** For each pixel 0, where nobody decided, 1 for no word, or its word's id + 2; 32768 more where it gives way to clicks. */
  readonly layer: PackedLayer;
  readonly done: readonly Step[];
  readonly undone: readonly Step[];
  readonly objects: {
    /** Number of each pixel's object, 0 for none; null: there was never an object. */
    readonly layer: PackedLayer | null;
    /** Ids of the words of the objects 1, 2, ...; null: such an object has no pixels. */
    readonly ids: readonly (number | null)[];
  };
}

/** Corrections without a history. */
export function editsOf(layer: PackedLayer, objects: SavedEdits["objects"] = { layer: null, ids: [] }): SavedEdits {
  return { layer, done: [], undone: [], objects };
}

/** Corrections, their history included, in which some words have other ids. */
export function withOtherIds(edits: SavedEdits, ids: ReadonlyMap<number, number>): SavedEdits {
  const code = (before: number) => {
    const now = ids.get(wordOf(before)!);
    return now === undefined ? before : codeOf(now, before & LOOSE ? "loose" : "firm");
  };
  const steps = (all: readonly Step[]) =>
    all.map(({ runs, objects }) => ({ runs: runs.map((number, at) => (at % STRETCH < 2 ? number : code(number))), objects }));
  return {
    layer: mapped(edits.layer, code),
    done: steps(edits.done),
    undone: steps(edits.undone),
    objects: { ...edits.objects, ids: edits.objects.ids.map((id) => ids.get(id!) ?? id) },
  };
}

export class Edits {
  private codes!: Layer;
  /** null: there was never an object, so that images without any pay nothing. */
  private numbers!: Layer | null;
  private owners!: (number | null)[];
  private done!: Step[];
  private undone!: Step[];
  private open: { readonly runs: number[]; readonly objects: number[] } | null = null;

  constructor(
    readonly width: number,
    readonly height: number,
    saved: SavedEdits | null = null,
  ) {
    this.set(saved ?? editsOf(empty(width * height)));
  }

  private set({ layer, objects, done, undone }: SavedEdits): void {
    this.codes = new Layer(layer);
    this.numbers = objects.layer && new Layer(objects.layer);
    this.owners = [...objects.ids];
    this.done = [...done];
    this.undone = [...undone];
  }

  /** See `SavedEdits.layer`. */
  get layer(): Uint16Array {
    return this.codes.values;
  }

  /** Number of each pixel's object, 0 for none; null: there was never one. */
  get objectLayer(): Uint16Array | null {
    return this.numbers?.values ?? null;
  }

  /** Id of the word of an object; null: it has no pixels. */
  ownerOf(object: number): number | null {
    return this.owners[object - 1] ?? null;
  }

  isCorrected(pixel: number): boolean {
    return this.layer[pixel] !== UNDECIDED;
  }

  /** Whether clicks leave a pixel alone. */
  isFirm(pixel: number): boolean {
    return this.isCorrected(pixel) && !(this.layer[pixel] & LOOSE);
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  /** Give pixels a word, as a part of the action that `finish` ends; returns what changed, or null if nothing did. */
  paint(runs: Runs, choice: Choice, strength: Strength = "firm"): Change | null {
    const after = codeOf(choice, strength);
    this.open ??= { runs: [], objects: [] };
    const changed: number[] = [];
    for (let at = 0; at < runs.length; at += 2) this.codes.fill(runs[at], runs[at] + runs[at + 1], after, changed);
    for (const number of changed) this.open.runs.push(number);
    return this.change({ runs: Int32Array.from(changed), objects: NO_RUNS });
  }

  /** The number of a new object of a word; null: there are none left. */
  createObject(word: number): number | null {
    return this.owners.length < MOST_OBJECTS ? this.owners.push(word) : null;
  }

  /** Give pixels to an object (0: to none), as a part of that action. */
  assign(runs: Runs, object: number): void {
    const { objects } = (this.open ??= { runs: [], objects: [] });
    if (object) this.numbers ??= new Layer(empty(this.width * this.height));
    for (let at = 0; at < runs.length; at += 2) this.numbers?.fill(runs[at], runs[at] + runs[at + 1], object, objects);
  }

  get isBegun(): boolean {
    return this.open !== null;
  }

  /** What was painted in the action that isn't ended: start, length, before and after. */
  get begunRuns(): readonly number[] {
    return this.open?.runs ?? [];
  }

  /** End an action, which is one step of the history; returns what it changed, or null if nothing. */
  finish(): Change | null {
    const { open } = this;
    this.open = null;
    if (!open || !(open.runs.length || open.objects.length)) return null;
    const step = { runs: merged(open.runs, this.width), objects: Int32Array.from(open.objects) };
    this.done.push(step);
    this.undone = [];
    let bytes = this.done.reduce((sum, one) => sum + bytesOf(one), 0);
    while (bytes > MOST_HISTORY && this.done.length > 1) bytes -= bytesOf(this.done.shift()!);
    return this.change(step);
  }

  /** Take back what was painted since the last action ended. */
  cancel(): Change | null {
    if (!this.finish()) return null;
    const change = this.undo();
    this.undone.pop();
    return change;
  }

  /** Takes back an action where pixels still have what it gave them; null: there is none, or nothing changed. */
  undo(): Change | null {
    return this.step("done", "undone", "undo");
  }

  redo(): Change | null {
    return this.step("undone", "done", "redo");
  }

  private step(from: "done" | "undone", to: "done" | "undone", way: "undo" | "redo"): Change | null {
    this.finish();
    const step = this[from].pop();
    if (!step) return null;
    this[to].push(step);
    const runs = Int32Array.from(this.codes.retrace(step.runs, way)),
      objects = Int32Array.from(this.numbers?.retrace(step.objects, way) ?? []);
    const left = pixelsIn(step.runs) + pixelsIn(step.objects) - pixelsIn(runs) - pixelsIn(objects);
    return this.change({ runs, objects }, left);
  }

  /** Everything as the model found it, without objects, as one action. */
  clear(): Change | null {
    const runs = rowsOf(this);
    this.paint(runs, undefined);
    this.assign(runs, 0);
    return this.finish();
  }

  /** Take over the layers of others; the history stays, and goes on from them. */
  adopt(saved: SavedEdits | null): void {
    const { done, undone } = this;
    this.set({ ...(saved ?? editsOf(empty(this.width * this.height))), done, undone });
  }

  /** Give words other ids, in the history, too. */
  renumber(ids: ReadonlyMap<number, number>): void {
    this.finish();
    this.set(withOtherIds(this.saved, ids));
  }

  get saved(): SavedEdits {
    return {
      layer: this.codes.packed,
      done: [...this.done],
      undone: [...this.undone],
      objects: { layer: this.numbers?.packed ?? null, ids: [...this.owners] },
    };
  }

  private change({ runs, objects }: Step, left = 0): Change | null {
    const box = joined(boxOf(runs, this.width, STRETCH), boxOf(objects, this.width, STRETCH)) ?? (left ? NOWHERE : null);
    return box && { box, runs, left };
  }
}

const NOWHERE: Box = { left: 0, top: 0, right: 0, bottom: 0 };

function pixelsIn(runs: Int32Array): number {
  return runs.reduce((sum, number, at) => (at % STRETCH === 1 ? sum + number : sum), 0);
}

/** The stretches of an action; if it gave one thing to all, in their order, with those as one that follow each other. */
function merged(runs: readonly number[], width: number): Int32Array {
  const after = runs[3];
  // a pixel that got one thing isn't in a second stretch
  if (runs.some((number, at) => at % 4 === 3 && number !== after)) return Int32Array.from(runs);
  const order = Uint32Array.from({ length: runs.length / 4 }, (_, at) => 4 * at);
  order.sort((one, other) => runs[one] - runs[other]);
  const result: number[] = [];
  for (const at of order) {
    const [start, length, before] = [runs[at], runs[at + 1], runs[at + 2]];
    const last = result.length - 4;
    const isNext = last >= 0 && result[last] + result[last + 1] === start && result[last + 2] === before;
    if (isNext && start % width) result[last + 1] += length;
    else result.push(start, length, before, after);
  }
  return Int32Array.from(result);
}

function bytesOf({ runs, objects }: Step): number {
  return runs.byteLength + objects.byteLength;
}
