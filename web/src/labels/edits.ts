/** What a person corrected in one image, with undo and redo. */

import { boxOf, type Box, type Runs } from "./runs";

/** Bytes of history that are kept for an image; older steps can't be undone. */
const MOST_HISTORY = 16e6;

/** What a pixel is given: a word; null, no word; undefined, what the model found. */
export type Choice = string | null | undefined;

/** What a correction did, for those who follow it. */
export interface Change {
  /** Where something changed. */
  readonly box: Box;
  /** Start, length, and what the pixels had before: three numbers for each stretch, none of which leaves its row. */
  readonly runs: Int32Array;
  /** What the pixels have after it. */
  readonly after: number;
  /** Whether it was taken back: the pixels have what they had before. */
  readonly isUndone: boolean;
}

/** One action. */
interface Step {
  /** What the pixels have after it. */
  readonly after: number;
  /** Start, length, and what the pixels had before: three numbers for each stretch; no pixel is in two of them. */
  readonly runs: Int32Array;
}

/** Everything about corrections, as it is stored. */
export interface SavedEdits {
  readonly layer: Uint16Array;
  readonly names: readonly (string | null)[];
  readonly done: readonly Step[];
  readonly undone: readonly Step[];
}

export class Edits {
  /** For each pixel 0, or the place of its word in `names`, counted from 1. */
  readonly layer: Uint16Array;
  /** Words by name, since the list of words may change; null: no word. */
  readonly names: (string | null)[] = [];
  private done: Step[] = [];
  private undone: Step[] = [];
  private open: { after: number; runs: number[] } | null = null;

  constructor(
    private readonly width: number,
    height: number,
    saved: SavedEdits | null = null,
  ) {
    this.layer = saved?.layer ?? new Uint16Array(width * height);
    if (!saved) return;
    this.names.push(...saved.names);
    this.done = [...saved.done];
    this.undone = [...saved.undone];
  }

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  /**
   * Give pixels a word, as a part of the action that `finish` ends.
   *
   * @returns what changed; null: nothing did.
   */
  paint(runs: Runs, choice: Choice): Change | null {
    const after = this.code(choice);
    if (this.open && this.open.after !== after) this.finish();
    this.open ??= { after, runs: [] };
    const changed: number[] = [];
    for (let at = 0; at < runs.length; at += 2) this.fill(runs[at], runs[at] + runs[at + 1], after, changed);
    for (const number of changed) this.open.runs.push(number);
    return this.change({ after, runs: Int32Array.from(changed) }, false);
  }

  /** End an action, which is one step of the history; false: it changed nothing. */
  finish(): boolean {
    const { open } = this;
    this.open = null;
    if (!open?.runs.length) return false;
    this.done.push({ after: open.after, runs: merged(open.runs, this.width) });
    this.undone = [];
    let bytes = this.done.reduce((sum, { runs }) => sum + runs.byteLength, 0);
    while (bytes > MOST_HISTORY && this.done.length > 1) bytes -= this.done.shift()!.runs.byteLength;
    return true;
  }

  /** Take back what was painted since the last action ended. */
  cancel(): Change | null {
    if (!this.finish()) return null;
    const change = this.undo();
    this.undone.pop();
    return change;
  }

  undo(): Change | null {
    const step = this.done.pop();
    if (!step) return null;
    this.undone.push(step);
    const { runs } = step;
    for (let at = 0; at < runs.length; at += 3) this.layer.fill(runs[at + 2], runs[at], runs[at] + runs[at + 1]);
    return this.change(step, true);
  }

  redo(): Change | null {
    const step = this.undone.pop();
    if (!step) return null;
    this.done.push(step);
    for (let at = 0; at < step.runs.length; at += 3)
      this.layer.fill(step.after, step.runs[at], step.runs[at] + step.runs[at + 1]);
    return this.change(step, false);
  }

  /** Everything as the model found it, as one action. */
  clear(): Change | null {
    const rows: number[] = [];
    for (let start = 0; start < this.layer.length; start += this.width) rows.push(start, this.width);
    const change = this.paint(Int32Array.from(rows), undefined);
    this.finish();
    return change;
  }

  get saved(): SavedEdits {
    return { layer: this.layer, names: this.names, done: this.done, undone: this.undone };
  }

  /** Fill a stretch, and write down the parts of it that had something else. */
  private fill(start: number, end: number, after: number, runs: number[]): void {
    const { layer } = this;
    for (let at = start; at < end;) {
      const before = layer[at],
        first = at;
      while (at < end && layer[at] === before) at++;
      if (before !== after) runs.push(first, at - first, before);
    }
    layer.fill(after, start, end);
  }

  private change({ after, runs }: Step, isUndone: boolean): Change | null {
    const box = boxOf(runs, this.width, 3);
    return box && { box, runs, after, isUndone };
  }

  private code(choice: Choice): number {
    if (choice === undefined) return 0;
    const at = this.names.indexOf(choice);
    return at < 0 ? this.names.push(choice) : at + 1;
  }
}

/** Stretches in their order, with those as one that follow each other in a row and had the same before. */
function merged(runs: readonly number[], width: number): Int32Array {
  const order = Uint32Array.from({ length: runs.length / 3 }, (_, at) => 3 * at);
  order.sort((one, other) => runs[one] - runs[other]);
  const result: number[] = [];
  for (const at of order) {
    const [start, length, before] = [runs[at], runs[at + 1], runs[at + 2]];
    const last = result.length - 3;
    const isNext = last >= 0 && result[last] + result[last + 1] === start && result[last + 2] === before;
    if (isNext && start % width) result[last + 1] += length;
    else result.push(start, length, before);
  }
  return Int32Array.from(result);
}
