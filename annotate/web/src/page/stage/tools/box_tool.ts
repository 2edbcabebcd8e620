/** A tool with which boxes are dragged. */

import { signal } from "@preact/signals";

import type { Box, Point } from "../../../labels/runs";
import { Tool } from "../tool";

export abstract class BoxTool extends Tool {
  /** The corners of the box that is being drawn: where it began, and where the pointer is. */
  protected readonly corners = signal<readonly [Point, Point] | null>(null);

  drag(_: Point, to: Point): void {
    const corners = this.corners.value;
    if (corners) this.corners.value = [corners[0], to];
  }

  drop(): void {
    const corners = this.corners.value,
      { image } = this.work;
    this.cancel();
    if (!corners || !image) return;
    const { width, height } = image.item;
    const [left, right] = ordered(corners[0].x, corners[1].x, width);
    const [top, bottom] = ordered(corners[0].y, corners[1].y, height);
    this.boxed({ left, top, right, bottom }, corners[1]);
  }

  cancel(): void {
    this.corners.value = null;
  }

  /** What a box means, as far as it is within the image; it was ended at a place. */
  protected abstract boxed(box: Box, at: Point): void;
}

/** Two places in order, within an image. */
function ordered(one: number, other: number, most: number): [number, number] {
  const within = (place: number) => Math.max(0, Math.min(most, place));
  return [within(Math.min(one, other)), within(Math.max(one, other))];
}
