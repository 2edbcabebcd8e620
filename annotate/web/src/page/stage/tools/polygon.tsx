/** Gives a word to the inside of a polygon, whose corners and sides snap to the edges of the image. */

import { signal } from "@preact/signals";

import type { View } from "../../../imaging/names";
import { sampled } from "../../../imaging/picture";
import { corners, type Costs, edgeCosts, strongestNear, wayBetween } from "../../../labels/live_wire";
import { nearestOn, type Point, polygon, type Size } from "../../../labels/runs";
import type { OpenImage } from "../../../session/open_image";
import { Button, Toggle } from "../../buttons";
import { toImage as toCells, toStage as toPixels } from "../navigation";
import type { Pen } from "../painter";
import { type Key, type Press, Tool } from "../tool";
import { WordChoice } from "../word_choice";
import type { Workbench } from "../workbench";

interface Corner {
  readonly at: Point;
  /** How the side to the next corner goes; a drawn one stays as the pointer went. */
  readonly way: "along edges" | "straight" | "drawn";
  /** The places of that side, without its corners; that of the last corner has none yet. */
  readonly side: readonly Point[];
}

interface Dragged {
  /** The corners before it. */
  readonly corners: readonly Corner[];
  readonly number: number;
  /** "new": it comes out of a side, as soon as it is moved; "drawn": a side is drawn from here. */
  readonly kind: "moved" | "new" | "drawn";
}

export class PolygonTool extends Tool {
  readonly icon = "polygon";
  readonly label = "Polygon";
  readonly key = "p";
  readonly help = "Click the corners of a polygon, whose sides follow the edges of the image, or draw around it; its inside gets the word.";
  override readonly keys: readonly Key[] = [
    ["Space", "set a corner at the cursor"],
    ["Enter", "close the polygon, which gives its inside the word; so does a click on its first or last corner"],
    ["S", "let sides follow the edges, or be straight; with Alt a single one is straight"],
    ["Drag", "draw a side, up to the first corner all of the outline; move a corner, or pull a new one out of a side"],
    ["Right click", "take away a corner"],
    ["Backspace", "take away the corner that was moved last, or the last one"],
  ];
  override readonly isReading = false;
  override readonly hasSecondary = true;
  readonly corners = signal<readonly Corner[]>([]);
  readonly isSnapping = signal(true);
  private readonly chosen = signal<number | null>(null);
  override readonly seen = [this.corners, this.isSnapping, this.chosen];
  private dragged: Dragged | null = null;
  private readonly snapping = new Snapping(this.work);

  tap(at: Point, press: Press): void {
    const { image } = this.work;
    if (!image) return;
    const corners = this.corners.value;
    const hit = this.cornerAt(at, press);
    if (press.isSecondary) {
      if (hit >= 0) this.remove(hit);
    } else if (corners.length > 2 && (hit === 0 || hit === corners.length - 1)) this.close();
    else if (hit >= 0) this.chosen.value = hit < corners.length - 1 ? hit : null;
    else this.add(at, press.altKey ? "straight" : "along edges");
  }

  grab(at: Point, press: Press): boolean {
    if (press.isSecondary || !this.work.image) return false;
    const corners = this.corners.value;
    const hit = this.cornerAt(at, press),
      side = hit < 0 ? this.sideAt(at, press) : -1;
    if (hit >= 0) this.dragged = { corners, number: hit, kind: "moved" };
    else if (side >= 0) this.dragged = { corners, number: side + 1, kind: "new" };
    else this.dragged = { corners, number: corners.length, kind: "drawn" };
    return true;
  }

  drag(from: Point, to: Point): void {
    if (!this.dragged) return;
    const { corners, kind, number } = this.dragged;
    if (kind === "drawn") {
      if (this.corners.value === corners) this.add(from, "drawn");
      const corner = this.corners.value[number];
      this.corners.value = this.corners.value.with(number, { ...corner, side: [...corner.side, this.inside(to)] });
      return;
    }
    this.corners.value = kind === "new" ? corners.toSpliced(number, 0, { ...corners[number - 1], side: [] }) : corners;
    this.chosen.value = number;
    this.move(number, this.inside(to));
  }

  drop(press: Press): void {
    const { kind, number } = this.dragged ?? {};
    this.dragged = null;
    const drawn = this.corners.value[number!];
    if (kind !== "drawn" || !drawn?.side.length) return;
    const end = drawn.side.at(-1)!;
    if (this.work.isNear(this.corners.value[0].at, end, press)) return this.close();
    this.replace(number!, { ...drawn, side: drawn.side.slice(0, -1) });
    this.add(end, "along edges");
  }

  cancel(): void {
    this.corners.value = this.dragged?.corners ?? this.corners.value;
    this.chosen.value = null;
    this.dragged = null;
  }

  press({ key }: KeyboardEvent): boolean {
    if (key.toLowerCase() === "s") this.isSnapping.value = !this.isSnapping.value;
    else if (!this.corners.value.length) return false;
    else if (key === "Backspace" || key === "Delete") this.takeBack();
    else if (key === "Enter") this.close();
    else return false;
    return true;
  }

  takeBack(): boolean {
    const { length } = this.corners.value;
    if (length) this.remove(this.chosen.value ?? length - 1);
    return length > 0;
  }

  leave(): boolean {
    const wasBegun = this.corners.value.length > 0;
    this.corners.value = [];
    this.chosen.value = null;
    this.dragged = null;
    return wasBegun;
  }

  override finish(): void {
    this.close();
    this.leave();
  }

  draw(pen: Pen): void {
    const corners = this.corners.value;
    const last = corners.at(-1);
    if (!last) return;
    const color = this.work.color.value;
    pen.line(this.outline(), 2, color);
    if (pen.cursor && !this.dragged) pen.line([last.at, ...this.side(last.at, pen.cursor, "along edges"), pen.cursor], 1, color);
    for (const [place, { at }] of corners.entries()) pen.ring(at, place === 0 || place === this.chosen.value ? 6 : 4);
  }

  options() {
    return (
      <>
        <Button
          text="Finish"
          kind="primary"
          reason={this.outline().length < 3 ? "A polygon has at least three corners" : null}
          onClick={() => this.close()}
        />
        <WordChoice work={this.work} />
        <Toggle text="Snap" value={this.isSnapping} />
        {this.chosen.value !== null && (
          <Button text="Take corner away" onClick={() => this.remove(this.chosen.value!)} />
        )}
      </>
    );
  }

  private add(at: Point, way: Corner["way"]): void {
    const corners = this.corners.value;
    const place = this.snapped(this.inside(at), way);
    this.chosen.value = null;
    this.corners.value = [...corners, { at: place, way, side: [] }];
    const last = corners.at(-1);
    // Alt makes the side straight that ends at the corner
    if (last && way !== "drawn" && last.way !== "drawn") this.replace(corners.length - 1, { ...last, way });
    else if (last) this.replace(corners.length - 1, last);
  }

  private move(number: number, at: Point): void {
    const corner = this.corners.value[number];
    this.replace(number, { ...corner, at: this.snapped(at, corner.way) });
    if (number) this.replace(number - 1, this.corners.value[number - 1]);
  }

  private remove(number: number): void {
    this.corners.value = this.corners.value.toSpliced(number, 1);
    this.chosen.value = null;
    if (number) this.replace(number - 1, this.corners.value[number - 1]);
  }

  /** Put a corner in the place of one, with the side from it. */
  private replace(number: number, corner: Corner): void {
    const next = this.corners.value[number + 1];
    const isDrawn = corner.way === "drawn";
    const side = isDrawn ? corner.side : next ? this.side(corner.at, next.at, corner.way) : [];
    this.corners.value = this.corners.value.with(number, { ...corner, side });
  }

  private close(): void {
    const corners = this.corners.value;
    const { image } = this.work;
    const points = this.outline();
    if (!image || points.length < 3) return;
    const [first, last] = [corners[0], corners[corners.length - 1]];
    if (last.way !== "drawn") points.push(...this.side(last.at, first.at, last.way));
    this.leave();
    image.paint(polygon(points, image.item), this.work.choice.value);
    this.work.end();
  }

  /** Its places, without a side from the last corner to the first. */
  private outline(): Point[] {
    return this.corners.value.flatMap(({ at, side }) => [at, ...side]);
  }

  private side(from: Point, to: Point, way: Corner["way"]): Point[] {
    return this.isSnapping.value && way === "along edges" ? this.snapping.path(from, to) : [];
  }

  private snapped(at: Point, way: Corner["way"]): Point {
    return this.isSnapping.value && way === "along edges" ? this.snapping.corner(at) : at;
  }

  private inside({ x, y }: Point): Point {
    const { width, height } = this.work.image!.item;
    return { x: Math.max(0, Math.min(width, x)), y: Math.max(0, Math.min(height, y)) };
  }

  /** The corner at a place, of several the first, where a polygon is closed; -1: none. */
  private cornerAt(at: Point, press: Press): number {
    return this.corners.value.findIndex((corner) => this.work.isNear(corner.at, at, press));
  }

  /** The corner at which the side begins that is at a place; -1: none. */
  private sideAt(at: Point, press: Press): number {
    const corners = this.corners.value;
    return corners.findIndex((corner, number) => {
      const next = corners[number + 1];
      if (!next || corner.way === "drawn") return false;
      const line = [corner.at, ...corner.side, next.at];
      return line.some((end, place) => place > 0 && this.work.isNear(nearestOn(line[place - 1], end, at), at, press));
    });
  }
}

/** Sides of the part of the image that is looked at around a place, each way [cells of about a CSS pixel]. */
const REACH = 256;

/** How far a corner moves to an edge [CSS px]: whoever places it by hand is about that exact. */
const NEAR = 2;

/** A part of the image: its corner, and the side of a cell [px of the image]. */
interface Window extends View {
  readonly image: OpenImage;
  readonly costs: Costs;
}

class Snapping {
  private window: Window | null = null;

  constructor(private readonly work: Workbench) {}

  /** The nearest place with a strong edge, or the place itself. */
  corner(at: Point): Point {
    const window = this.around(at, at);
    return window ? toPixels(window, strongestNear(window.costs, toCells(window, at), NEAR)) : at;
  }

  /** The places between two of them, along edges; none if these are so far apart that a straight line is meant. */
  path(from: Point, to: Point): Point[] {
    const window = this.around(from, to);
    if (!window) return [];
    const path = corners(wayBetween(window.costs, toCells(window, from), toCells(window, to)));
    return path.slice(1, -1).map((place) => toPixels(window, place));
  }

  /** The part of the image around a place, if it has another one, too. */
  private around(place: Point, other: Point): Window | null {
    const { image } = this.work;
    if (!image || image.picture.isClosed) return null;
    const cell = Math.max(1, 1 / this.work.view.value.scale);
    const known = this.window;
    const isKnown = known?.image === image && known.scale === cell && hasInside(known, place, NEAR);
    if (isKnown && hasInside(known, other, NEAR)) return known;
    const { width, height } = image.item;
    const left = Math.max(0, Math.floor(place.x - REACH * cell)),
      top = Math.max(0, Math.floor(place.y - REACH * cell));
    const size = {
      width: Math.max(1, Math.floor((Math.min(width, place.x + REACH * cell) - left) / cell)),
      height: Math.max(1, Math.floor((Math.min(height, place.y + REACH * cell) - top) / cell)),
    };
    const view = { x: left, y: top, scale: cell };
    const inside = { ...view, costs: size };
    if (!hasInside(inside, place, 0) || !hasInside(inside, other, 0)) return null;
    const data = sampled(image.picture, { left, top, right: left + size.width * cell, bottom: top + size.height * cell }, size);
    const ends = {
      left: left === 0,
      top: top === 0,
      right: place.x + REACH * cell >= width,
      bottom: place.y + REACH * cell >= height,
    };
    return (this.window = { image, ...view, costs: edgeCosts(data, size, ends) });
  }
}

function hasInside(window: View & { readonly costs: Size }, at: Point, margin: number): boolean {
  const { x, y } = toCells(window, at);
  const { width, height } = window.costs;
  // where the image ends, there is nothing beyond
  const least = (start: number) => (start ? margin : -1);
  return x >= least(window.x) && y >= least(window.y) && x <= width - margin + 1 && y <= height - margin + 1;
}
