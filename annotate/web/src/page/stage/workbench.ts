/** What the stage's tools work on: the open image, the word that they give, and what of the image is shown. */

import { computed, signal } from "@preact/signals";

import type { Color } from "../../imaging/palette";
import { extents, regionAt } from "../../labels/connected";
import type { Choice } from "../../labels/edits";
import { type Labeling, NONE } from "../../labels/labeling";
import { boxOf, distance, pixelAt, type Point, type Runs, split } from "../../labels/runs";
import { lookedFor } from "../../project/words";
import type { OpenImage } from "../../session/open_image";
import { Navigation } from "./navigation";
import type { Press } from "./tool";

/** How near to something a click or a tap is meant for it [CSS px]. */
const NEAR = { mouse: 12, finger: 22 };

/** Connected pixels with one word. */
export interface Region {
  readonly labeling: Labeling;
  /** How often the image was painted before. */
  readonly painted: number;
  /** Id of its word; 65535: none. */
  readonly id: number;
  readonly runs: Runs;
}

export class Workbench extends Navigation {
  /** Whether the list is open in which a word is found. */
  readonly isFinding = signal(false);
  /** What the tools paint: the word that was chosen, or else the first. */
  readonly choice = computed<Choice>(() => {
    const words = lookedFor(this.session.settings.vocabulary.value),
      chosen = this.session.painted.value;
    if (chosen === null || chosen === undefined) return chosen;
    return words.some(({ id }) => id === chosen) ? (chosen as number) : words[0]?.id;
  });

  /** The color of that word; null: it is none. */
  readonly color = computed<Color | null>(() => {
    const choice = this.choice.value;
    return this.session.settings.vocabulary.value.find(({ id }) => id === choice)?.color ?? null;
  });

  /** Whether a word was chosen since a tool began. */
  private isChosen = false;

  /** Ids of the words that were chosen or given, the last one first. */
  used: readonly number[] = [];

  choose(choice: Choice): void {
    this.session.painted.value = choice;
    this.isChosen = true;
    this.use(choice);
  }

  use(choice: Choice): void {
    if (typeof choice === "number") this.used = [choice, ...this.used.filter((id) => id !== choice)];
  }

  /** Choose the word at the cursor for a tool that begins, unless another one was chosen for it. */
  chooseBelow(): void {
    const labeling = this.image?.labeling.value,
      pixel = this.pixel.value;
    const id = labeling && pixel !== null && !this.isChosen ? labeling.labels[pixel] : NONE;
    if (id !== NONE) this.session.painted.value = id;
    this.isChosen = false;
  }

  private last: Region | null = null;

  /** The region at a place of the open image; null: there is none. */
  regionAt(at: Point | null): Region | null {
    const image = this.session.current.value;
    const labeling = image?.labeling.value;
    const pixel = labeling && at ? pixelAt(at, labeling) : null;
    if (!labeling || pixel === null) return null;
    const [id, painted, { last }] = [labeling.labels[pixel], image!.painted.value, this];
    const isLast = last?.labeling === labeling && last.painted === painted && last.id === id && has(last.runs, pixel);
    if (!isLast) this.last = { labeling, painted, id, runs: regionAt(labeling.labels, labeling, pixel) };
    return this.last;
  }

  get image(): OpenImage | null {
    return this.session.canCorrect.value ? this.session.current.value : null;
  }

  /** The parts of stretches of pixels that nobody drew or clicked. */
  yielding(runs: Runs): Runs {
    const edits = this.image?.edits;
    return (edits && split(runs, (pixel) => edits.isFirm(pixel)).get(false)) ?? new Int32Array();
  }

  /** End an action, which is one step of the history, and write it down. */
  end(): void {
    const { value: open } = this.session.current;
    // what was begun is written down also where the right to it was lost meanwhile
    const image = open?.edits.isBegun ? open : this.image;
    image?.finish();
    if (image) this.session.keepEdits(image);
  }

  retrace(way: "undo" | "redo"): void {
    const left = this.image?.step(way) ?? 0;
    if (left) this.session.problem.value = `${left} pixels stay as they are: somebody changed them since.`;
    this.end();
  }

  /** Whether two places of the image are so near on the screen that a press at one is meant for the other. */
  isNear(one: Point, other: Point, press: Pick<Press, "isTouch">): boolean {
    return distance(one, other) * this.view.value.scale < (press.isTouch ? NEAR.finger : NEAR.mouse);
  }
}

function has(runs: Runs, pixel: number): boolean {
  for (let at = 0; at < runs.length; at += 2) if (pixel >= runs[at] && pixel < runs[at] + runs[at + 1]) return true;
  return false;
}

/** Show the region at a place as large as it fits; once more: all of the image. */
export function frameRegion(work: Workbench, at: Point | null): void {
  const region = work.regionAt(at);
  if (region) work.frameOrFit(boxOf(region.runs, region.labeling.width)!);
}

/** The same for all pixels of the word that is chosen for the tools. */
export function frameChosen(work: Workbench): void {
  const labeling = work.session.current.value?.labeling.value;
  const extent = labeling && extents(labeling.labels, labeling).get(work.choice.value ?? -1);
  if (extent) work.frameOrFit(extent.box);
}
