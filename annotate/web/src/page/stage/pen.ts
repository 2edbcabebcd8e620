/** Draws on the stage in pixels of the image. */

import type { Point, Runs, Size } from "../../labels/runs";
import { toStage, type View } from "./navigation";

export class Pen {
  constructor(
    readonly context: CanvasRenderingContext2D,
    readonly view: View,
    readonly image: Size,
    /** Where the pointer is, or the keys have moved; null: nowhere. */
    readonly cursor: Point | null,
  ) {}

  /** A line that is seen on any ground. */
  line(points: readonly Point[], width = 2): void {
    this.outlined(() => {
      for (const [at, point] of points.entries()) {
        const { x, y } = toStage(this.view, point);
        if (at) this.context.lineTo(x, y);
        else this.context.moveTo(x, y);
      }
    }, width);
  }

  /** A circle. @param radius [CSS px]. */
  ring(middle: Point, radius: number): void {
    const { x, y } = toStage(this.view, middle);
    this.outlined(() => this.context.arc(x, y, radius, 0, 2 * Math.PI));
  }

  /** Separate thin lines: x, y, x, y of each. */
  segments(lines: readonly (readonly number[])[]): void {
    const { scale, x, y } = this.view;
    this.outlined(() => {
      for (const [left, top, right, bottom] of lines) {
        this.context.moveTo(x + scale * left, y + scale * top);
        this.context.lineTo(x + scale * right, y + scale * bottom);
      }
    }, 1);
  }

  /** A disk with a ring around it. @param radius [CSS px]. */
  dot(middle: Point, radius: number, color: string): void {
    const { x, y } = toStage(this.view, middle);
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.context.fillStyle = color;
    this.context.fill();
    this.ring(middle, radius);
  }

  /** Fill pixels with a color. */
  pixels(runs: Runs, color: string): void {
    const { context, image, view } = this;
    context.fillStyle = color;
    for (let at = 0; at < runs.length; at += 2) {
      const x = runs[at] % image.width,
        y = Math.floor(runs[at] / image.width);
      const from = toStage(view, { x, y }),
        to = toStage(view, { x: x + runs[at + 1], y: y + 1 });
      // whole pixels, so that rows neither overlap nor leave gaps
      const [left, top] = [Math.round(from.x), Math.round(from.y)];
      context.fillRect(left, top, Math.round(to.x) - left, Math.round(to.y) - top);
    }
  }

  /** Draw a path in CSS pixels of the stage as a line that is seen on any ground. */
  outlined(path: () => void, width = 2): void {
    const { context } = this;
    context.beginPath();
    path();
    context.lineWidth = 2 * width;
    context.strokeStyle = "rgb(0 0 0 / 70%)";
    context.stroke();
    context.lineWidth = width;
    context.strokeStyle = "#fff";
    context.stroke();
  }
}
