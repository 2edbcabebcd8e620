/** What the stage's tools work on: the open image, and the word that they give. */

import { computed, signal } from "@preact/signals";

import type { Choice } from "../../labels/edits";
import { NONE } from "../../labels/labeling";
import type { Point, Runs } from "../../labels/runs";
import { firstName } from "../../labels/synonyms";
import type { OpenImage } from "../../session/open_image";
import { Navigation } from "./navigation";
import type { Press } from "./tool";
import { toStage } from "./view";

/** How near to something a click or a tap is meant for it [CSS px]. */
const NEAR = { mouse: 12, finger: 22 };

export class Workbench extends Navigation {
  /** Whether the list of words is open in which letters find one. */
  readonly finding = signal(false);
  /** The word that was chosen for the tools; it may be gone. */
  private readonly chosen = signal<Choice>("");

  /** What the tools paint: the word that was chosen, or else the first. */
  readonly choice = computed<Choice>(() => {
    const names = this.session.settings.words.value.map(firstName),
      chosen = this.chosen.value;
    return typeof chosen !== "string" || names.includes(chosen) ? chosen : names[0];
  });

  choose(choice: Choice): void {
    this.chosen.value = choice;
  }

  /** The image, if it can be corrected. */
  get image(): OpenImage | null {
    return this.session.canCorrect.value ? this.session.current.value : null;
  }

  /** Give pixels a word, as a part of the action that `end` ends. */
  paint(runs: Runs, choice: Choice): void {
    this.image?.paint(runs, choice);
  }

  /** Give pixels the words of labels, in the same way. */
  paintLabels(all: ReadonlyMap<number, Runs>): void {
    const words = this.image?.labeling.value?.words ?? [];
    for (const [label, runs] of all) this.paint(runs, label === NONE ? null : firstName(words[label]));
  }

  /** End an action, which is one step of the history, and write it down. */
  end(): void {
    const { image } = this;
    image?.finish();
    if (image) this.session.keepEdits(image);
  }

  /** Take back what was painted since the last action ended. */
  cancelPaint(): void {
    this.image?.cancel();
  }

  undo(): void {
    this.image?.undo();
    this.end();
  }

  redo(): void {
    this.image?.redo();
    this.end();
  }

  /** Whether two places of the image are so near on the screen that a press at one is meant for the other. */
  isNear(one: Point, other: Point, press: Pick<Press, "isTouch">): boolean {
    const [from, to] = [toStage(this.view.value, one), toStage(this.view.value, other)];
    return Math.hypot(from.x - to.x, from.y - to.y) < (press.isTouch ? NEAR.finger : NEAR.mouse);
  }
}
