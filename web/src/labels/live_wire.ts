/**
 * Paths along the edges of an image ("Intelligent Scissors for Image Composition", Mortensen and Barrett, 1995): of all
 * ways between two places, the one on which steps across strong edges of color are cheapest.
 *
 * A path goes over the corners of cells, not over their middles, so that a line between two regions is exactly theirs.
 */

import type { Point, Size } from "./runs";

/** Cost of a step along the strongest edge, and how much more one costs where there is none. */
const LEAST = 2,
  MORE = 60;

/** Costs of all ways that are looked at differ by less than that: the longest step, diagonally. */
const BUCKETS = 1 << Math.ceil(Math.log2(1.5 * (LEAST + MORE) + 2));

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

/**
 * The costs of an image, from how much colors differ around each corner of its cells.
 *
 * @param pixels RGBA, row by row.
 */
export function edgeCosts(pixels: Uint8ClampedArray, { width, height }: Size): Costs {
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

/** The cheapest ways from one place to all others, worked out as far as they are asked for (Dijkstra). */
export class LiveWire {
  private readonly total: Int32Array;
  /** Number of the step by which each place is reached; 255: it isn't, or it is the start. */
  private readonly by: Uint8Array;
  private readonly isSettled: Uint8Array;
  /** Places by the costs of the ways to them, modulo the number of buckets. */
  private readonly buckets: number[][] = Array.from({ length: BUCKETS }, () => []);
  private open = 1;
  private cost = 0;

  /** @param start a corner of the cells. */
  constructor(
    private readonly costs: Costs,
    start: Point,
  ) {
    const places = costs.values.length;
    this.total = new Int32Array(places).fill(2 ** 30);
    this.by = new Uint8Array(places).fill(255);
    this.isSettled = new Uint8Array(places);
    const at = this.place(start);
    this.total[at] = 0;
    this.buckets[0].push(at);
  }

  /** The corners of the cells on the way to one of them, both ends included. */
  pathTo(end: Point): Point[] {
    const to = this.place(end);
    while (!this.isSettled[to] && this.open) this.settleNext();
    const stride = this.costs.width + 1;
    const path: Point[] = [];
    for (let at = to; ;) {
      path.push({ x: at % stride, y: Math.floor(at / stride) });
      if (this.by[at] === 255) break;
      const [x, y] = STEPS[this.by[at]];
      at -= y * stride + x;
    }
    return path.reverse();
  }

  private settleNext(): void {
    const { buckets, by, costs, isSettled, total } = this;
    const bucket = buckets[this.cost % BUCKETS];
    const at = bucket.pop();
    if (at === undefined) {
      this.cost++;
      return;
    }
    this.open--;
    if (isSettled[at]) return;
    isSettled[at] = 1;
    const stride = costs.width + 1,
      x = at % stride,
      y = (at - x) / stride;
    for (let step = 0; step < STEPS.length; step++) {
      const [right, down] = STEPS[step];
      if (x + right < 0 || x + right > costs.width || y + down < 0 || y + down > costs.height) continue;
      const next = at + down * stride + right;
      const cost = this.cost + Math.round(costs.values[next] * (step < 4 ? 1 : Math.SQRT2));
      if (isSettled[next] || cost >= total[next]) continue;
      total[next] = cost;
      by[next] = step;
      buckets[cost % BUCKETS].push(next);
      this.open++;
    }
  }

  private place({ x, y }: Point): number {
    const { width, height } = this.costs;
    const clamped = (value: number, most: number) => Math.max(0, Math.min(most, Math.round(value)));
    return clamped(y, height) * (width + 1) + clamped(x, width);
  }
}

/** A path without the places on straight stretches of it. */
export function corners(path: readonly Point[]): Point[] {
  return path.filter((point, at) => {
    const [before, after] = [path[at - 1], path[at + 1]];
    return !before || !after || after.x - point.x !== point.x - before.x || after.y - point.y !== point.y - before.y;
  });
}
