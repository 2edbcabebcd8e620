/**
 * Paths along the edges of an image ("Intelligent Scissors for Image Composition", Mortensen and Barrett, 1995): of all
 * ways between two places near the straight line, the one on which steps along strong edges of color are cheapest.
 *
 * A path goes over the corners of cells, not over their middles, so that a line between two regions is exactly theirs.
 */

import type { Point, Size } from "./runs";

/**
 * Cost of a step along the strongest edge, and how much more one costs where there is none. If they differed more, any
 * detour along a strong edge would be cheaper than a straight line along a weak one.
 */
const LEAST = 16,
  MORE = 48;

/** How much longer a way may be than the straight line, as a share of it and beyond that [cells]. */
const DETOUR = 0.1,
  SPACE = 2;

/** How much more a step costs, as a share, for each length of the straight line by which it is away from it. */
const AWAY_COST = 12;

/** More than any step costs: a diagonal one beside a line of one cell, as far away as the ellipse is wide. */
const BUCKETS = 2048;

/** Share of the places whose edges are weaker than those that count as strongest, which are half of the strongest at least. */
const STRONGEST = { share: 0.98, least: 0.5 };

/** Weights of four cells on a line across an edge, and along it. */
const AWAY = [-1, -2, 2, 1],
  NEAR = [1, 3, 3, 1];

/** Horizontal and vertical steps, then diagonal ones. */
const STEPS = [
  [1, 0],
  [-1, 0],
  [0, 1],
  [0, -1],
  [1, 1],
  [1, -1],
  [-1, 1],
  [-1, -1],
] as const;

/** What a step onto each corner of the cells costs, (width + 1) x (height + 1). */
export interface Costs extends Size {
  readonly values: Uint8Array;
}

/** Sides of a part of an image at which the image ends. */
export type Ends = Readonly<Record<"left" | "top" | "right" | "bottom", boolean>>;

const EVERYWHERE: Ends = { left: true, top: true, right: true, bottom: true };

/** Costs of RGBA pixels, from how much colors differ around each corner of them; where the image ends is an edge. */
export function edgeCosts(pixels: Uint8ClampedArray, { width, height }: Size, ends = EVERYWHERE): Costs {
  const strength = new Float32Array((width + 1) * (height + 1));
  // the difference of two rows or columns on each side, the nearer ones counting more
  for (let y = 1; y < height; y++) {
    const rows = [Math.max(0, y - 2), y - 1, y, Math.min(height - 1, y + 1)].map((row) => row * width);
    for (let x = 1; x < width; x++) {
      const columns = [Math.max(0, x - 2), x - 1, x, Math.min(width - 1, x + 1)];
      let most = 0;
      for (let channel = 0; channel < 3; channel++) {
        let [across, down] = [0, 0];
        for (let row = 0; row < 4; row++) {
          for (let column = 0; column < 4; column++) {
            const value = pixels[4 * (rows[row] + columns[column]) + channel];
            across += AWAY[column] * NEAR[row] * value;
            down += AWAY[row] * NEAR[column] * value;
          }
        }
        most = Math.max(most, across * across + down * down);
      }
      strength[y * (width + 1) + x] = Math.sqrt(most);
    }
  }
  // a part of them says enough
  const sorted = strength.filter((_, at) => at % 7 === 0).sort();
  const most = strength.reduce((one, other) => Math.max(one, other), 1);
  const strongest = Math.max(STRONGEST.least * most, sorted[Math.floor(STRONGEST.share * (sorted.length - 1))]);
  const values = Uint8Array.from(strength, (one) => LEAST + Math.round(MORE * (1 - Math.min(1, one / strongest)) ** 2));
  if (ends.top) values.fill(LEAST, 0, width + 1);
  if (ends.bottom) values.fill(LEAST, height * (width + 1));
  for (let row = 0; row < values.length; row += width + 1) {
    if (ends.left) values[row] = LEAST;
    if (ends.right) values[row + width] = LEAST;
  }
  return { width, height, values };
}

/** The place with the strongest edge within a distance; the place itself where there is no edge. */
export function strongestNear({ width, height, values }: Costs, at: Point, distance: number): Point {
  let best = { x: Math.round(at.x), y: Math.round(at.y) };
  const cost = ({ x, y }: Point) => values[y * (width + 1) + x] + Math.hypot(x - at.x, y - at.y) / distance;
  if (best.x < 0 || best.y < 0 || best.x > width || best.y > height) return at;
  for (let y = Math.max(0, Math.ceil(at.y - distance)); y <= Math.min(height, at.y + distance); y++) {
    for (let x = Math.max(0, Math.ceil(at.x - distance)); x <= Math.min(width, at.x + distance); x++) {
      if (Math.hypot(x - at.x, y - at.y) <= distance && cost({ x, y }) < cost(best)) best = { x, y };
    }
  }
  return values[best.y * (width + 1) + best.x] < LEAST + MORE / 2 ? best : at;
}

/**
 * An ellipse around two places, in which costs grow with the distance from the straight line between them: a way may
 * leave it for an edge beside it, but not for a stronger one that is further away. What is outside of it costs 0.
 */
function corridor(costs: Costs, from: Point, to: Point) {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const most = length * (1 + DETOUR) + SPACE;
  const margin = Math.ceil((most - length) / 2 + Math.sqrt(most ** 2 - length ** 2) / 2);
  const left = Math.max(0, Math.min(from.x, to.x) - margin),
    top = Math.max(0, Math.min(from.y, to.y) - margin);
  const width = Math.min(costs.width, Math.max(from.x, to.x) + margin) - left,
    height = Math.min(costs.height, Math.max(from.y, to.y) + margin) - top;
  const values = new Uint16Array((width + 1) * (height + 1));
  for (let at = 0, y = top; y <= top + height; y++) {
    for (let x = left; x <= left + width; x++, at++) {
      if (Math.hypot(x - from.x, y - from.y) + Math.hypot(x - to.x, y - to.y) > most) continue;
      const away = Math.abs((x - from.x) * (to.y - from.y) - (y - from.y) * (to.x - from.x)) / Math.max(1, length ** 2);
      values[at] = Math.round(costs.values[y * (costs.width + 1) + x] * (1 + AWAY_COST * away));
    }
  }
  return { left, top, width, height, values };
}

/** The corners of the cells on the cheapest way between two of them (Dijkstra), both ends included. */
export function wayBetween(costs: Costs, from: Point, to: Point): Point[] {
  const inside = ({ x, y }: Point) => ({
    x: Math.max(0, Math.min(costs.width, Math.round(x))),
    y: Math.max(0, Math.min(costs.height, Math.round(y))),
  });
  const [start, end] = [inside(from), inside(to)];
  const { left, top, width, height, values } = corridor(costs, start, end);
  const stride = width + 1;
  const place = ({ x, y }: Point) => (y - top) * stride + x - left;
  const goal = place(end);
  const total = new Int32Array(values.length).fill(2 ** 30);
  // number of the step by which each place is reached; 255: it isn't, or it is the start
  const by = new Uint8Array(values.length).fill(255);
  const isSettled = new Uint8Array(values.length);
  // places by the costs of the ways to them, modulo the number of buckets
  const buckets: number[][] = Array.from({ length: BUCKETS }, () => []);
  total[place(start)] = 0;
  buckets[0].push(place(start));
  for (let cost = 0; !isSettled[goal]; cost++) {
    const bucket = buckets[cost % BUCKETS];
    for (let at = bucket.pop(); at !== undefined; at = bucket.pop()) {
      if (isSettled[at]) continue;
      isSettled[at] = 1;
      const x = at % stride,
        y = (at - x) / stride;
      for (let step = 0; step < STEPS.length; step++) {
        const [right, down] = STEPS[step];
        if (x + right < 0 || x + right > width || y + down < 0 || y + down > height) continue;
        const next = at + down * stride + right;
        if (!values[next] || isSettled[next]) continue;
        const nextCost = cost + Math.round(values[next] * (step < 4 ? 1 : Math.SQRT2));
        if (nextCost >= total[next]) continue;
        total[next] = nextCost;
        by[next] = step;
        buckets[nextCost % BUCKETS].push(next);
      }
    }
  }
  const path: Point[] = [];
  for (let at = goal; ;) {
    path.push({ x: left + (at % stride), y: top + Math.floor(at / stride) });
    if (by[at] === 255) return path.reverse();
    const [x, y] = STEPS[by[at]];
    at -= y * stride + x;
  }
}

/** A path without the places on straight stretches of it. */
export function corners(path: readonly Point[]): Point[] {
  return path.filter((point, at) => {
    const [before, after] = [path[at - 1], path[at + 1]];
    return !before || !after || after.x - point.x !== point.x - before.x || after.y - point.y !== point.y - before.y;
  });
}
