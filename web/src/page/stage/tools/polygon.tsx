/** Gives a word to the inside of a polygon. */

import { signal } from "@preact/signals";

import { polygon } from "../../../labels/shapes";
import type { Point } from "../../../labels/runs";
import type { Page } from "../../page";
import type { Pen } from "../pen";
import type { Key, Press, Tool } from "../tool";
import type { Workbench } from "../workbench";
import { WordChoice } from "../word_choice";

export class PolygonTool implements Tool {
  readonly icon = "polygon";
  readonly label = "Polygon";
  readonly key = "p";
  readonly help = "Click the corners of a polygon; its inside gets the word.";
  readonly keys: readonly Key[] = [
    ["Space", "set a corner at the cursor"],
    ["Enter", "close the polygon, which gives its inside the word; so does a click on the first or the last corner"],
    ["Backspace", "take back a corner"],
  ];
  readonly pointer = "crosshair";
  readonly isEditing = true;
  readonly isReading = false;
  readonly corners = signal<readonly Point[]>([]);
  readonly seen = [this.corners];

  constructor(private readonly work: Workbench) {}

  tap(at: Point, press: Press): void {
    const { image } = this.work;
    if (!image) return;
    const corners = this.corners.value;
    const isNear = (corner: Point | undefined) => corner !== undefined && this.work.isNear(corner, at, press);
    if (corners.length > 2 && (isNear(corners[0]) || isNear(corners.at(-1)))) this.close();
    else if (!isNear(corners.at(-1))) {
      const { width, height } = image.item;
      this.corners.value = [
        ...corners,
        { x: Math.max(0, Math.min(width, at.x)), y: Math.max(0, Math.min(height, at.y)) },
      ];
    }
  }

  /** Give the inside the word, and begin a new polygon. */
  private close(): void {
    const corners = this.corners.value;
    const { image } = this.work;
    if (!image || corners.length < 3) return;
    this.corners.value = [];
    this.work.paint(polygon(corners, image.item));
    this.work.end();
  }

  press({ key }: KeyboardEvent): boolean {
    if (!this.corners.value.length) return false;
    if (key === "Backspace") this.corners.value = this.corners.value.slice(0, -1);
    else if (key === "Enter") this.close();
    else return false;
    return true;
  }

  leave(): boolean {
    const wasBegun = this.corners.value.length > 0;
    this.corners.value = [];
    return wasBegun;
  }

  draw(pen: Pen): void {
    const corners = this.corners.value;
    if (!corners.length) return;
    pen.line([...corners, ...(pen.cursor ? [pen.cursor] : [])]);
    for (const corner of corners) pen.ring(corner, corner === corners[0] ? 6 : 4);
  }

  options({ control }: Page) {
    return (
      <>
        <WordChoice work={control} />
        <button type="button" disabled={this.corners.value.length < 3} onClick={() => this.close()}>
          Fill
        </button>
      </>
    );
  }
}
