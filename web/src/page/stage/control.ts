/** The stage's state, and what its tools do to the open image. */

import { computed, effect, signal } from "@preact/signals";

import type { Choice } from "../../labels/edits";
import { regionAt } from "../../labels/region";
import type { Point, Runs, Size } from "../../labels/runs";
import { polygon, stroke } from "../../labels/shapes";
import { firstName } from "../../labels/synonyms";
import type { OpenImage } from "../../session/open_image";
import type { Session } from "../../session/session";
import type { Tool } from "../../session/settings";
import { Navigation, pixelAt } from "./navigation";
import type { Moves } from "./pointers";
import { toImage, toStage } from "./view";

/** How near to the first corner a click closes a polygon [CSS px]. */
const NEAR = 12;

/** Radii of the brush [px of the image]. */
export const RADII = { least: 1, most: 200 };

/** A region that is about to get another word. */
export interface PickedRegion {
  readonly runs: Runs;
  /** The word that it has; null: none. */
  readonly word: string | null;
  /** Where it was clicked [px of the image]. */
  readonly at: Point;
}

export class StageControl extends Navigation implements Moves {
  readonly tool = signal<Tool>("look");
  /** Whether the list of keys is open. */
  readonly help = signal(false);
  readonly corners = signal<readonly Point[]>([]);
  readonly region = signal<PickedRegion | null>(null);
  /** Share of the stage, from the left, that shows the image alone; null: the image isn't compared. */
  readonly divider = signal<number | null>(null);
  /** The word that was chosen for brush and polygon; it may be gone. */
  private readonly chosen = signal<Choice>("");

  constructor(session: Session) {
    super(session);
    effect(() => {
      void session.current.value;
      this.corners.value = [];
      this.region.value = null;
    });
  }

  /** What brush and polygon paint: the word that was chosen, or else the first. */
  readonly choice = computed<Choice>(() => {
    const names = this.session.settings.words.value.map(firstName),
      chosen = this.chosen.value;
    return typeof chosen !== "string" || names.includes(chosen) ? chosen : names[0];
  });

  choose(choice: Choice): void {
    this.chosen.value = choice;
  }

  select(tool: Tool): void {
    this.tool.value = tool;
    this.corners.value = [];
  }

  /** The image, if it can be corrected. */
  get image(): OpenImage | null {
    return this.session.canCorrect.value ? this.session.current.value : null;
  }

  /** Do at the cursor what a click does there. */
  act(): void {
    const cursor = this.cursor.value;
    if (!cursor) return;
    if (this.tool.value === "brush") {
      this.dab(cursor, cursor);
      this.end();
    } else this.tapImage(cursor);
  }

  tap(at: Point): void {
    this.tapImage(toImage(this.view.value, at));
  }

  paints(): boolean {
    return this.tool.value === "brush" && this.image !== null;
  }

  begin(at: Point): void {
    this.paint(at, at);
  }

  paint(from: Point, to: Point): void {
    this.dab(toImage(this.view.value, from), toImage(this.view.value, to));
  }

  end(): void {
    const { image } = this;
    image?.finish();
    if (image) this.session.keepEdits(image);
  }

  cancel(): void {
    this.image?.cancel();
  }

  /** Paint the polygon, and begin a new one. */
  close(): void {
    const corners = this.corners.value;
    const { image } = this;
    this.corners.value = [];
    if (!image || corners.length < 3) return;
    image.paint(polygon(corners, image.item), this.choice.value);
    this.end();
  }

  /** Give the region that was clicked a word. */
  give(choice: Choice): void {
    const region = this.region.value;
    const { image } = this;
    this.region.value = null;
    if (!image || !region) return;
    image.paint(region.runs, choice);
    this.end();
  }

  /** Leave what was begun; false: there was nothing. */
  leave(): boolean {
    const wasBusy = this.corners.value.length > 0 || this.region.value !== null;
    this.corners.value = [];
    this.region.value = null;
    return wasBusy;
  }

  undo(): void {
    this.image?.undo();
    this.end();
  }

  redo(): void {
    this.image?.redo();
    this.end();
  }

  private dab(from: Point, to: Point): void {
    const { image } = this;
    image?.paint(stroke(from, to, this.session.settings.radius.value, image.item), this.choice.value);
  }

  private tapImage(at: Point): void {
    const tool = this.tool.value;
    const { image } = this;
    if (!image) return;
    if (tool === "region") this.pick(image, at);
    if (tool === "polygon") this.addCorner(at, image.item);
  }

  private pick(image: OpenImage, at: Point): void {
    const pixel = pixelAt(at, image.item),
      labeling = image.labeling.value!;
    if (pixel === null) return;
    this.region.value = { runs: regionAt(labeling.labels, labeling, pixel), word: labeling.wordAt(pixel), at };
  }

  private addCorner(at: Point, { width, height }: Size): void {
    const corners = this.corners.value;
    const view = this.view.value;
    const isNear = (corner: Point | undefined) => {
      if (!corner) return false;
      const [one, other] = [toStage(view, corner), toStage(view, at)];
      return Math.hypot(one.x - other.x, one.y - other.y) < NEAR;
    };
    if (corners.length > 2 && (isNear(corners[0]) || isNear(corners.at(-1)))) this.close();
    else if (!isNear(corners.at(-1)))
      this.corners.value = [
        ...corners,
        { x: Math.max(0, Math.min(width, at.x)), y: Math.max(0, Math.min(height, at.y)) },
      ];
  }
}
