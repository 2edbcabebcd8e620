/** What clicks say of an object, and which part of an image is looked at; Python's `segvoc.clicks` does the same. */

import { regionAt } from "../labels/connected";
import { type Box, boxOf, holds, joined, type Point, rowsOf, type Runs, type Size, split, whole } from "../labels/runs";
import { addInterpolated, axis, type Grid } from "../onnx/feature_maps";

/** A click on an image [px]. */
export interface Click extends Point {
  /** Whether the object is to have this place; else it isn't. */
  readonly adds: boolean;
}

export interface Guess {
  readonly clicks: readonly Click[];
  /** The box in which the object was drawn; null: it began with a click. */
  readonly box: Box | null;
  readonly view: Box;
  /** Of every second pixel of the view as the network sees it; positive: in the mask. */
  readonly logits: Grid;
}

/** The network of clicks on the views of one image. */
export interface ViewNetwork {
  readonly image: Size;
  /** Rows and columns of the masks of a view. */
  size(view: Box): Omit<Grid, "values">;
  /**
   * Logits of a mask.
   *
   * @param clicks x and y in [0, 1] of the view, and 1 (belongs to the mask), -1 (doesn't) or 0 (no click).
   * @param mask the mask so far, in [0, 1]; 0.5 in a box that was drawn.
   */
  run(view: Box, clicks: Float32Array, mask: Grid): Promise<Grid>;
}

/** Logit of what surely isn't in a mask. */
const NOTHING = -20;

/** Weight of a box that was drawn, as a mask. */
const BOX = 0.5;

/** The object in a box; its center counts as a positive click, which is more accurate than a box alone. */
export async function boxed(network: ViewNetwork, box: Box): Promise<Guess> {
  const view = viewAround(box, whole(network.image));
  const size = network.size(view);
  const mask = { ...size, values: new Float32Array(size.rows * size.columns) };
  const down = size.rows / (view.bottom - view.top),
    across = size.columns / (view.right - view.left);
  const column = (x: number) => Math.round((x - view.left) * across),
    row = (y: number) => Math.round((y - view.top) * down);
  for (let at = row(box.top); at < row(box.bottom); at++)
    mask.values.fill(BOX, at * size.columns + column(box.left), at * size.columns + column(box.right));
  const middle = { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, adds: true };
  return { clicks: [], box, view, logits: await network.run(view, inView([middle], view), mask) };
}

/** The object at a first click, as far as all of the image shows it. */
export function glanced(network: ViewNetwork, click: Click): Promise<Guess> {
  return inside(network, null, { clicks: [click], box: null, view: whole(network.image) });
}

/** The object after one more click; `onFirst` gets what a farther view shows of a small object before a closer one. */
export async function clicked(
  network: ViewNetwork,
  before: Guess | null,
  click: Click,
  onFirst: (guess: Guess) => void = () => {},
): Promise<Guess> {
  const image = whole(network.image);
  const clicks = [...(before?.clicks ?? []), click],
    box = before?.box ?? null;
  let view = before?.view ?? image;
  if (before && !holds(view, click)) {
    const point = boxOfPoint(click);
    const wanted = viewAround(joined(boxOfPositive(before.logits, view), point)!, image);
    view = joined(wanted, view)!;
  }
  const first = await inside(network, before, { clicks, box, view });
  const found = boxOfPositive(first.logits, view);
  if (!found) return first;
  const object = clicks.filter(({ adds }) => adds).reduce((all, one) => joined(all, boxOfPoint(one))!, found);
  const nearer = nextView(view, object, image);
  if (isEqual(nearer, view)) return first;
  onFirst(first);
  return inside(network, first, { clicks, box, view: nearer });
}

async function inside(network: ViewNetwork, before: Guess | null, next: Omit<Guess, "logits">): Promise<Guess> {
  const { view, clicks } = next;
  const size = network.size(view);
  const mask = before
    ? resampled(before.logits, before.view, view, size, NOTHING)
    : { ...size, values: new Float32Array(size.rows * size.columns).fill(NOTHING) };
  const values = mask.values.map((logit) => 1 / (1 + Math.exp(-logit)));
  const logits = await network.run(view, inView(clicks, view), { ...size, values });
  return { ...next, logits: connectedTo(clicks, view, logits) };
}

/** Keep the connected regions of a view's mask that have a positive click; without such a click, keep all. */
export function connectedTo(clicks: readonly Click[], view: Box, logits: Grid): Grid {
  const { values, rows, columns } = logits;
  const down = rows / (view.bottom - view.top), across = columns / (view.right - view.left);
  const inside = Uint16Array.from(values, (logit) => Number(logit > 0));
  const isClicked = new Uint8Array(values.length);
  for (const click of clicks) {
    if (!click.adds || !holds(view, click)) continue;
    const cell = Math.floor((click.y - view.top) * down) * columns + Math.floor((click.x - view.left) * across);
    if (inside[cell]) regionAt(inside, { width: columns, height: rows }, cell, isClicked);
  }
  if (!isClicked.includes(1)) return logits;
  return { ...logits, values: values.map((logit, at) => (inside[at] && !isClicked[at] ? -logit : logit)) };
}

/** Those clicks that are in a view, as the network reads them. */
function inView(clicks: readonly Click[], view: Box): Float32Array {
  const width = view.right - view.left,
    height = view.bottom - view.top;
  const rows = clicks
    .filter((click) => holds(view, click))
    .flatMap(({ x, y, adds }) => [(x - view.left) / width, (y - view.top) / height, adds ? 1 : -1]);
  return Float32Array.from(rows.length ? rows : [0.5, 0.5, 0]);
}

function boxOfPoint({ x, y }: Point): Box {
  return { left: x, top: y, right: x + 1, bottom: y + 1 };
}

/** Sides of a view, relative to the object in it. */
const ROOM = 1.4;

/** Shortest side of a view [px]; the network learned from none that were smaller. */
const LEAST = 144;

/** Longer side of a view relative to the shorter one: what squashing to a square still bears. */
const MOST_ASPECT = 2;

/** A view is left for one of at most this share of its area. */
const WORTH = 0.5;

/** A view of more than this share of the image's area is the whole image. */
const WHOLE = 0.6;

/** So near to the side of a view an object may be cut off by it, relative to the side. */
const MARGIN = 0.02;

export function area({ left, top, right, bottom }: Box): number {
  return (right - left) * (bottom - top);
}

export function isEqual(one: Box, other: Box): boolean {
  return one.left === other.left && one.top === other.top && one.right === other.right && one.bottom === other.bottom;
}

/** The view of an object: with room around it, in whole pixels of the image. */
export function viewAround(box: Box, image: Box): Box {
  const width = Math.max(LEAST, ROOM * (box.right - box.left)),
    height = Math.max(LEAST, ROOM * (box.bottom - box.top));
  const least = Math.max(width, height) / MOST_ASPECT;
  const [left, right] = placed(box.left, box.right, Math.max(width, least), image.right);
  const [top, bottom] = placed(box.top, box.bottom, Math.max(height, least), image.bottom);
  const view = { left, top, right, bottom };
  return area(view) > WHOLE * area(image) ? image : view;
}

function placed(first: number, last: number, wanted: number, most: number): [number, number] {
  const side = Math.min(Math.ceil(wanted), most);
  const start = Math.max(0, Math.min(most - side, Math.floor((first + last - side) / 2)));
  return [start, start + side];
}

/** The view to go on with, once an object was found in one: nearer if it is small, farther if it is cut off. */
export function nextView(view: Box, found: Box, image: Box): Box {
  const wanted = viewAround(found, image);
  const across = MARGIN * (view.right - view.left),
    down = MARGIN * (view.bottom - view.top);
  const isCut =
    (found.left < view.left + across && view.left > 0) ||
    (found.right > view.right - across && view.right < image.right) ||
    (found.top < view.top + down && view.top > 0) ||
    (found.bottom > view.bottom - down && view.bottom < image.bottom);
  if (!isCut) return area(wanted) <= WORTH * area(view) ? wanted : view;
  return area(wanted) > area(view) ? wanted : image;
}

/** The rectangle around the cells of a view that are positive; null: none is. */
export function boxOfPositive({ values, rows, columns }: Grid, view: Box): Box | null {
  const positive = split(rowsOf({ width: columns, height: rows }), (cell) => values[cell] > 0).get(true);
  if (!positive) return null;
  const { left, top, right, bottom } = boxOf(positive, columns)!;
  const down = (view.bottom - view.top) / rows,
    across = (view.right - view.left) / columns;
  return {
    left: view.left + across * left,
    top: view.top + down * top,
    right: view.left + across * right,
    bottom: view.top + down * bottom,
  };
}

/** The values of one view on the grid of another, interpolated bilinearly; `outside` where the first has none. */
export function resampled(grid: Grid, of: Box, to: Box, size: Omit<Grid, "values">, outside: number): Grid {
  const { rows, columns } = size;
  const along = (cells: number, pixels: number, from: keyof Box, until: keyof Box) => {
    const scale = cells / (of[until] - of[from]);
    return axis(cells, pixels, (to[from] - of[from]) * scale, ((to[until] - to[from]) / pixels) * scale);
  };
  const down = along(grid.rows, rows, "top", "bottom"),
    across = along(grid.columns, columns, "left", "right");
  const values = new Float32Array(rows * columns);
  addInterpolated(values, grid.values, grid, rows, columns, down, across);
  const isInside = (at: number) => down.isInside[Math.floor(at / columns)] && across.isInside[at % columns];
  return { rows, columns, values: values.map((value, at) => (isInside(at) ? value : outside)) };
}

/** Start and length of the stretches of pixels of an image where the values of a view, interpolated, are positive. */
export function positiveRuns(grid: Grid, view: Box, { width }: Size): Runs {
  const { left, top, right, bottom } = view;
  const down = axis(grid.rows, bottom - top),
    across = axis(grid.columns, right - left);
  /** The pixels with the same cells to their left and right, of which only those at a change of sign are looked at. */
  const spans: number[] = [];
  for (let x = 0; x < right - left; x++)
    if (!x || across.lower[x] !== across.lower[x - 1] || across.upper[x] !== across.upper[x - 1]) spans.push(x);
  spans.push(right - left);
  const line = new Float32Array(grid.columns),
    runs: number[] = [];
  for (let y = 0; y < bottom - top; y++) {
    const upper = down.lower[y] * grid.columns,
      lower = down.upper[y] * grid.columns,
      share = down.share[y];
    for (let column = 0; column < grid.columns; column++)
      line[column] = grid.values[upper + column] * (1 - share) + grid.values[lower + column] * share;
    const row = (top + y) * width + left;
    let start = -1;
    const isIn = (x: number) => line[across.lower[x]] * (1 - across.share[x]) + line[across.upper[x]] * across.share[x] > 0;
    const take = (x: number, isInside: boolean) => {
      if (isInside && start < 0) start = x;
      if (isInside || start < 0) return;
      runs.push(row + start, x - start);
      start = -1;
    };
    for (let at = 0; at + 1 < spans.length; at++) {
      const [first, end] = [spans[at], spans[at + 1]];
      const here = line[across.lower[first]] > 0;
      if (here === line[across.upper[first]] > 0) take(first, here);
      else for (let x = first; x < end; x++) take(x, isIn(x));
    }
    take(right - left, false);
  }
  return Int32Array.from(runs);
}
