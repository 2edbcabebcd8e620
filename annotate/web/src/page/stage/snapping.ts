/** Makes corners and sides of a polygon follow the edges of the open image, as finely as the screen shows it. */

import type { Point } from "../../labels/runs";
import { corners, edgeCosts, strongestNear, wayBetween, type Costs } from "../../labels/live_wire";
import type { OpenImage } from "../../session/open_image";
import type { Workbench } from "./workbench";

/** Sides of the part of the image that is looked at around a place, each way [cells of about a CSS pixel]. */
const REACH = 256;

/** How far a corner moves to an edge [CSS px]: whoever places it by hand is about that exact. */
const NEAR = 2;

/** A part of the image, in cells. */
interface Window {
  readonly image: OpenImage;
  /** Its corner, and the side of a cell [px of the image]. */
  readonly left: number;
  readonly top: number;
  readonly cell: number;
  readonly costs: Costs;
}

export class Snapping {
  private window: Window | null = null;

  constructor(private readonly work: Workbench) {}

  /** The nearest place with a strong edge, or the place itself. */
  corner(at: Point): Point {
    const window = this.around(at, at);
    return window ? toImage(window, strongestNear(window.costs, toCells(window, at), NEAR)) : at;
  }

  /** The places between two of them, along edges; none if these are so far apart that a straight line is meant. */
  path(from: Point, to: Point): Point[] {
    const window = this.around(from, to);
    if (!window) return [];
    const path = corners(wayBetween(window.costs, toCells(window, from), toCells(window, to)));
    return path.slice(1, -1).map((place) => toImage(window, place));
  }

  /** The part of the image around a place, if it has another one, too. */
  private around(place: Point, other: Point): Window | null {
    const { image } = this.work;
    if (!image?.bitmap.width) return null;
    const cell = Math.max(1, 1 / this.work.view.value.scale);
    const known = this.window;
    const isKnown = known?.image === image && known.cell === cell && hasInside(known, place, NEAR);
    if (isKnown && hasInside(known, other, NEAR)) return known;
    const { width, height } = image.item;
    const left = Math.max(0, Math.floor(place.x - REACH * cell)),
      top = Math.max(0, Math.floor(place.y - REACH * cell));
    const size = {
      width: Math.max(1, Math.floor((Math.min(width, place.x + REACH * cell) - left) / cell)),
      height: Math.max(1, Math.floor((Math.min(height, place.y + REACH * cell) - top) / cell)),
    };
    const inside = { left, top, cell, costs: size };
    if (!hasInside(inside, place, 0) || !hasInside(inside, other, 0)) return null;
    const context = new OffscreenCanvas(size.width, size.height).getContext("2d", { willReadFrequently: true })!;
    context.imageSmoothingQuality = "medium";
    const [across, down] = [size.width * cell, size.height * cell];
    context.drawImage(image.bitmap, left, top, across, down, 0, 0, size.width, size.height);
    const { data } = context.getImageData(0, 0, size.width, size.height);
    const ends = {
      left: left === 0,
      top: top === 0,
      right: place.x + REACH * cell >= width,
      bottom: place.y + REACH * cell >= height,
    };
    return (this.window = { image, left, top, cell, costs: edgeCosts(data, size, ends) });
  }
}

type Place = Pick<Window, "left" | "top" | "cell">;

function hasInside(window: Place & { readonly costs: Pick<Costs, "width" | "height"> }, at: Point, margin: number): boolean {
  const { x, y } = toCells(window, at);
  const { width, height } = window.costs;
  // where the image ends, there is nothing beyond
  const least = (start: number) => (start ? margin : -1);
  return x >= least(window.left) && y >= least(window.top) && x <= width - margin + 1 && y <= height - margin + 1;
}

function toCells({ left, top, cell }: Place, { x, y }: Point): Point {
  return { x: (x - left) / cell, y: (y - top) / cell };
}

function toImage({ left, top, cell }: Place, { x, y }: Point): Point {
  return { x: left + x * cell, y: top + y * cell };
}
