/** Fills what is enclosed by something painted and what is too small to be anything, and takes whole regions away. */

import { signal } from "@preact/signals";

import { regionAt } from "../../../labels/connected";
import type { Point } from "../../../labels/runs";
import { enclosed, specks, surroundings } from "../../../labels/surroundings";
import { plural } from "../../page";
import { pixelAt } from "../navigation";
import type { Key, Press, Tool } from "../tool";
import { WordChoice } from "../word_choice";
import type { Workbench } from "../workbench";

/** Sizes of specks [share of the image's pixels], as the slider has them: their exponents of ten. */
const SPECKS = { least: -6, most: -2 };

export class FillTool implements Tool {
  readonly icon = "fill";
  readonly label = "Fill";
  readonly key = "f";
  readonly help =
    "Outline something with the brush, then click inside: everything up to what you painted, or the image's border, gets the word.";
  readonly keys: readonly Key[] = [
    ["Remove specks", "small regions and gaps that nobody corrected get the words around them, in the whole image"],
  ];
  readonly pointer = "crosshair";
  readonly isEditing = true;
  readonly isReading = false;
  /** Size of the largest specks, as an exponent. */
  readonly size = signal(-4);
  /** What became of the last action. */
  readonly note = signal("");
  readonly seen = [];

  constructor(private readonly work: Workbench) {}

  tap(at: Point): void {
    const { image } = this.work;
    const pixel = image && pixelAt(at, image.item);
    if (!image || pixel === null) return;
    const runs = enclosed(image.labeling.value!, pixel);
    this.note.value = runs ? "" : "Outline something with the brush first.";
    if (!runs) return;
    this.work.paint(runs, this.work.choice.value);
    this.work.end();
  }

  private clean(): void {
    const { image } = this.work;
    const labeling = image?.labeling.value;
    if (!image || !labeling) return;
    const runs = specks(labeling, 10 ** this.size.value * labeling.labels.length);
    let pixels = 0;
    for (let run = 1; run < runs.length; run += 2) pixels += runs[run];
    this.work.paintLabels(surroundings(labeling.labels, runs, labeling));
    this.work.end();
    this.note.value = pixels ? `${plural(pixels, "pixel")} changed.` : "There are none.";
  }

  leave(): boolean {
    this.note.value = "";
    return false;
  }

  options() {
    const { size, note } = this;
    const item = this.work.image?.item;
    const side = item ? Math.round(Math.sqrt(10 ** size.value * item.width * item.height)) : 0;
    return (
      <>
        <WordChoice work={this.work} />
        <label class="size" title="Specks are smaller than that">
          <span>
            Specks <span class="hidden">smaller than</span>
          </span>
          <input
            type="range"
            min={SPECKS.least}
            max={SPECKS.most}
            step="any"
            aria-valuetext={`${side} × ${side} pixels`}
            value={size.value}
            onInput={(event) => (size.value = Number(event.currentTarget.value))}
          />
        </label>
        <button type="button" title={`Smaller than ${side} × ${side} pixels`} onClick={() => this.clean()}>
          Remove specks
        </button>
        <span class="help" role="status">
          {note.value}
        </span>
      </>
    );
  }
}

/** What comes in place of a region. */
const WAYS = {
  around: "the words around it",
  found: "what the model found",
  nothing: "no word",
} as const;

type Way = keyof typeof WAYS;

export class EraserTool implements Tool {
  readonly icon = "eraser";
  readonly label = "Magic eraser";
  readonly key = "e";
  readonly help =
    "Click a region to take it away: the words around it grow into its place, each pixel gets the nearest one.";
  readonly keys: readonly Key[] = [["Shift with a click", "what the model found comes back instead"]];
  readonly pointer = "pointer";
  readonly isEditing = true;
  readonly isReading = true;
  readonly way = signal<Way>("around");
  readonly seen = [];

  constructor(private readonly work: Workbench) {}

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

  leave(): boolean {
    return false;
  }

  options() {
    return (
      <label class="row">
        <span>Fill with</span>
        <select value={this.way.value} onChange={({ currentTarget: { value } }) => (this.way.value = value as Way)}>
          {Object.entries(WAYS).map(([way, name]) => (
            <option key={way} value={way}>
              {name}
            </option>
          ))}
        </select>
      </label>
    );
  }
}
