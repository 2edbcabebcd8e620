/** Pixels that touch one another, over edges and corners: regions, and labels that grow into pixels that are open. */

import { type Box, boxOf, grown, pixelsOf, rowsOf, type Runs, type Size, split } from "./runs";

export interface Connected {
  /** What its pixels have in common. */
  readonly key: number;
  /** Start and length of its stretches, row by row. */
  readonly runs: readonly number[];
  readonly pixels: number;
}

/** The regions of pixels with one key (0: in none) in a box of an image, in the order of their first pixels. */
export function connected(width: number, box: Box, keyOf: (pixel: number) => number): Connected[] {
  const starts: number[] = [],
    ends: number[] = [],
    keys: number[] = [],
    parents: number[] = [];
  const root = (run: number): number => {
    while (parents[run] !== run) run = parents[run] = parents[parents[run]];
    return run;
  };
  let above = 0;
  for (let y = box.top; y < box.bottom; y++) {
    const first = starts.length;
    for (let at = y * width + box.left, end = y * width + box.right; at < end;) {
      const key = keyOf(at),
        start = at++;
      while (at < end && keyOf(at) === key) at++;
      if (!key) continue;
      parents.push(starts.length);
      starts.push(start);
      ends.push(at);
      keys.push(key);
    }
    let next = above;
    for (let run = first; run < starts.length; run++) {
      // corners touch, so a stretch that ends where the other begins counts
      while (next < first && ends[next] + width < starts[run]) next++;
      for (let other = next; other < first && starts[other] + width <= ends[run]; other++)
        if (keys[other] === keys[run]) {
          const [one, two] = [root(other), root(run)];
          parents[Math.max(one, two)] = Math.min(one, two);
        }
    }
    above = first;
  }
  const found = new Map<number, { key: number; runs: number[]; pixels: number }>();
  for (let run = 0; run < starts.length; run++) {
    const of = root(run);
    if (!found.has(of)) found.set(of, { key: keys[run], runs: [], pixels: 0 });
    const region = found.get(of)!;
    region.runs.push(starts[run], ends[run] - starts[run]);
    region.pixels += ends[run] - starts[run];
  }
  return [...found.values()];
}

/** The pixels of a rectangle, row by row, with a value each. */
export class Patch {
  readonly width: number;
  readonly height: number;
  readonly values: Uint16Array;

  constructor(
    private readonly image: number,
    readonly box: Box,
  ) {
    this.width = box.right - box.left;
    this.height = box.bottom - box.top;
    this.values = new Uint16Array(this.width * this.height);
  }

  place(pixel: number): number {
    const x = pixel % this.image;
    return ((pixel - x) / this.image - this.box.top) * this.width + x - this.box.left;
  }

  pixel(place: number): number {
    const x = place % this.width;
    return ((place - x) / this.width + this.box.top) * this.image + x + this.box.left;
  }

  fill(runs: ArrayLike<number>, value: number): void {
    for (let at = 0; at < runs.length; at += 2) {
      const start = this.place(runs[at]);
      this.values.fill(value, start, start + runs[at + 1]);
    }
  }

  /** Visit the places beside one, over edges and corners. */
  around(place: number, visit: (beside: number) => void): void {
    const { width, height } = this;
    const x = place % width,
      y = (place - x) / width;
    const right = Math.min(width - 1, x + 1),
      bottom = Math.min(height - 1, y + 1);
    for (let row = Math.max(0, y - 1); row <= bottom; row++)
      for (let column = Math.max(0, x - 1); column <= right; column++)
        if (row !== y || column !== x) visit(row * width + column);
  }

  /** Start and length of all stretches with one value, in the image. */
  runs(value: number): Runs {
    const places = split(rowsOf(this), (place) => this.values[place] === value).get(true) ?? new Int32Array();
    return places.map((number, at) => (at % 2 ? number : this.pixel(number)));
  }
}

/** Give every place with the value `open` that of the nearest other one that isn't 0, as far as steps lead there. */
export function spread(patch: Patch, open: number): void {
  const { values } = patch;
  const isNumbered = (at: number) => values[at] !== 0 && values[at] !== open;
  const first = new Set<number>();
  for (let at = 0; at < values.length; at++)
    if (values[at] === open) patch.around(at, (beside) => isNumbered(beside) && first.add(beside));
  for (let edge = [...first].sort((one, other) => one - other); edge.length;) {
    const next: number[] = [];
    for (const at of edge)
      patch.around(at, (beside) => {
        if (values[beside] !== open) return;
        values[beside] = values[at];
        next.push(beside);
      });
    edge = next;
  }
}

/** The region of a pixel, over edges and not over corners; `isFound` has the pixels of known regions, and is filled. */
export function regionAt(
  labels: Uint16Array,
  { width, height }: Size,
  start: number,
  isFound = new Uint8Array(labels.length),
): Runs {
  const label = labels[start];
  const runs: number[] = [];
  const open = [start];
  while (open.length) {
    const seed = open.pop()!;
    if (isFound[seed]) continue;
    const row = seed - (seed % width),
      end = row + width;
    let first = seed,
      last = seed;
    while (first > row && labels[first - 1] === label) first--;
    while (last + 1 < end && labels[last + 1] === label) last++;
    isFound.fill(1, first, last + 1);
    runs.push(first, last - first + 1);
    for (const step of [-width, width]) {
      if (first + step < 0 || first + step >= width * height) continue;
      for (let at = first + step; at <= last + step; at++)
        // one seed for each stretch
        if (labels[at] === label && !isFound[at] && (at === first + step || labels[at - 1] !== label)) open.push(at);
    }
  }
  return Int32Array.from(runs);
}

/** Visit a grid's places row by row, and then back, each with the four beside it that came before it (-1: outside). */
export function sweep({ width, height }: Size, visit: (at: number, before: number, isDiagonal: boolean) => void): void {
  const place = (x: number, y: number) => (x < 0 || y < 0 || x >= width || y >= height ? -1 : y * width + x);
  for (const step of [1, -1]) {
    for (let count = 0; count < width * height; count++) {
      const at = step > 0 ? count : width * height - 1 - count;
      const x = at % width,
        y = (at - x) / width;
      visit(at, place(x - step, y), false);
      visit(at, place(x, y - step), false);
      visit(at, place(x - step, y - step), true);
      visit(at, place(x + step, y - step), true);
    }
  }
}

/** Lengths of a step along an axis and of a diagonal one, by which the nearest pixel is found (Borgefors). */
export const STRAIGHT = 3,
  DIAGONAL = 4;

const FAR = 2 ** 30;

/** Pixels by the labels of the nearest pixels around them; nothing if there are no others. */
export function surroundings(labels: Uint16Array, runs: Runs, size: Size): Map<number, Runs> {
  const box = boxOf(runs, size.width);
  if (!box) return new Map();
  const patch = new Patch(size.width, grown(box, 1, size));
  const { values: nearest } = patch;
  for (const place of nearest.keys()) nearest[place] = labels[patch.pixel(place)];
  const distance = new Int32Array(nearest.length);
  for (let run = 0; run < runs.length; run += 2) {
    const at = patch.place(runs[run]);
    distance.fill(FAR, at, at + runs[run + 1]);
  }
  if (!distance.includes(0)) return new Map();
  sweep(patch, (at, before, isDiagonal) => {
    const through = before < 0 ? FAR : distance[before] + (isDiagonal ? DIAGONAL : STRAIGHT);
    if (through >= distance[at]) return;
    distance[at] = through;
    nearest[at] = nearest[before];
  });
  return split(runs, (pixel) => nearest[patch.place(pixel)]);
}

/** The pixels of each value but one, and the rectangle around them. */
export function extents(values: Uint16Array, size: Size, skipped = -1): Map<number, { area: number; box: Box }> {
  const found = split(rowsOf(size), (pixel) => values[pixel]);
  found.delete(skipped);
  return new Map([...found].map(([value, runs]) => [value, { area: pixelsOf(runs), box: boxOf(runs, size.width)! }]));
}
