/** Takes a whole region away. */

import { signal } from "@preact/signals";

import { regionAt, surroundings } from "../../../labels/connected";
import { pixelAt, type Point } from "../../../labels/runs";
import { Select } from "../../buttons";
import type { Pen } from "../painter";
import { type Key, type Press, Tool } from "../tool";

/** What comes in place of a region. */
const WAYS = [
  ["around", "the words around it"],
  ["found", "what the model found"],
  ["nothing", "no word"],
] as const;

export class EraserTool extends Tool {
  readonly icon = "eraser";
  readonly label = "Magic eraser";
  readonly key = "e";
  readonly help =
    "Click a region to take it away: the words around it grow into its place, each pixel gets the nearest one.";
  override readonly keys: readonly Key[] = [["Shift with a click", "what the model found comes back instead"]];
  override readonly pointer = "pointer";
  readonly way = signal<(typeof WAYS)[number][0]>("around");

  tap(at: Point, { shiftKey }: Press): void {
    const { image } = this.work;
    const pixel = image && pixelAt(at, image.item);
    if (!image || pixel === null) return;
    const labeling = image.labeling.value!;
    const runs = regionAt(labeling.labels, labeling, pixel);
    const way = shiftKey ? "found" : this.way.value;
    if (way === "around") this.work.paintLabels(surroundings(labeling.labels, runs, labeling));
    else this.work.paint(runs, way === "found" ? undefined : null);
    this.work.end();
  }

  /** What a click takes away. */
  draw(pen: Pen): void {
    const runs = this.work.regionBelow();
    if (runs) pen.pixels(runs, "rgb(255 255 255 / 45%)");
  }

  options() {
    return (
      <label class="row">
        <span>Fill with</span>
        <Select label="Fill with" options={WAYS} value={this.way.value} onChange={(way) => (this.way.value = way)} />
      </label>
    );
  }
}
