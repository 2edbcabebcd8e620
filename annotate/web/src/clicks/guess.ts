/** What clicks say of an object; Python's `segvoc/clicks/clicked_image.py` does the same. */

import { type Box, joined, type Point, type Size, whole } from "../labels/runs";
import { boxOfPositive, type Grid, holds, isEqual, nextView, resampled, viewAround } from "./view";

/** A click on an image [px]. */
export interface Click extends Point {
  /** Whether the object is to have this place; else it isn't. */
  readonly adds: boolean;
}

/** What clicks say of an object so far. */
export interface Guess {
  readonly clicks: readonly Click[];
  /** The box in which the object was drawn; null: it began with a click. */
  readonly box: Box | null;
  /** The part of the image that was looked at. */
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

/** The object in a box. */
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
  return { clicks: [], box, view, logits: await network.run(view, inView([], view), mask) };
}

/**
 * The object after one more click.
 *
 * @param onFirst called with what a farther view shows of a small object, before it is looked at closely.
 */
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
  if (before && !holds(view, click.x, click.y)) {
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

async function inside(
  network: ViewNetwork,
  before: Guess | null,
  next: Omit<Guess, "logits">,
): Promise<Guess> {
  const { view, clicks } = next;
  const size = network.size(view);
  const mask = before
    ? resampled(before.logits, before.view, view, size, NOTHING)
    : { ...size, values: new Float32Array(size.rows * size.columns).fill(NOTHING) };
  const values = mask.values.map((logit) => 1 / (1 + Math.exp(-logit)));
  return { ...next, logits: await network.run(view, inView(clicks, view), { ...size, values }) };
}

/** Those clicks that are in a view, as the network reads them. */
function inView(clicks: readonly Click[], view: Box): Float32Array {
  const width = view.right - view.left,
    height = view.bottom - view.top;
  const rows = clicks
    .filter(({ x, y }) => holds(view, x, y))
    .flatMap(({ x, y, adds }) => [(x - view.left) / width, (y - view.top) / height, adds ? 1 : -1]);
  return Float32Array.from(rows.length ? rows : [0.5, 0.5, 0]);
}

function boxOfPoint({ x, y }: Point): Box {
  return { left: x, top: y, right: x + 1, bottom: y + 1 };
}
