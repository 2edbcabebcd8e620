/** Gives a whole region another word. */

import { signal } from "@preact/signals";

import type { Choice } from "../../../labels/edits";
import { regionAt } from "../../../labels/region";
import type { Point } from "../../../labels/runs";
import { pixelAt } from "../navigation";
import type { Pen } from "../pen";
import type { Tool } from "../tool";
import type { Workbench } from "../workbench";
import { RegionDialog, type PickedRegion } from "./region_dialog";

export class RegionTool implements Tool {
  readonly icon = "region";
  readonly label = "Give a region another word";
  readonly key = "r";
  readonly help = "Click a region to give it another word.";
  readonly keys = [];
  readonly pointer = "pointer";
  readonly isEditing = true;
  readonly isReading = true;
  readonly picked = signal<PickedRegion | null>(null);
  readonly seen = [this.picked];

  constructor(private readonly work: Workbench) {}

  tap(at: Point): void {
    const { image } = this.work;
    const pixel = image && pixelAt(at, image.item);
    if (!image || pixel === null) return;
    const labeling = image.labeling.value!;
    this.picked.value = { runs: regionAt(labeling.labels, labeling, pixel), word: labeling.wordAt(pixel), at };
  }

  /** Give the region that was clicked a word. */
  give(choice: Choice): void {
    const picked = this.picked.value;
    this.picked.value = null;
    if (!picked) return;
    this.work.paint(picked.runs, choice);
    this.work.end();
  }

  leave(): boolean {
    const wasPicked = this.picked.value !== null;
    this.picked.value = null;
    return wasPicked;
  }

  draw(pen: Pen): void {
    if (this.picked.value) pen.pixels(this.picked.value.runs, "rgb(255 255 255 / 55%)");
  }

  panel(corner: Point) {
    return this.picked.value && (
        <RegionDialog
          work={this.work}
          region={this.picked.value}
          corner={corner}
          onGive={(choice) => this.give(choice)}
          onClose={() => this.leave()}
        />
      );
  }
}
