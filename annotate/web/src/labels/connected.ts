/** Pixels that touch one another, over edges and corners: regions, and labels that grow into pixels that are open. */

import { type Box, boxOf, grown, pixelsOf, rowsOf, type Runs, type Size, split } from "./runs";

export interface Connected {
  /** What its pixels have in common. */
  readonly key: number;
  readonly runs: Runs;
  readonly pixels: number;
}

/** The regions of pixels with one key (0: in none), over edges and corners, in the order of their first pixels. */
export function connected(width: number, box: Box, keyOf: (pixel: number) => number): Connected[] {
  const patch = new Patch(width, box);
  for (const place of patch.values.keys()) patch.values[place] = keyOf(patch.pixel(place));
  return [...regions(patch.values, patch, 1)].flatMap((places) => {
    const key = patch.values[places[0]];
    return key ? [{ key, runs: patch.inImage(places), pixels: pixelsOf(places) }] : [];
  });
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
    return this.inImage(split(rowsOf(this), (place) => this.values[place]).get(value) ?? new Int32Array());
  }

  /** Stretches of its places as those of the image. */
  inImage(places: Runs): Runs {
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

/** All regions, in the order of their first pixels, as `regionAt` finds them. */
export function* regions(labels: Uint16Array, size: Size, corners: 0 | 1 = 0): Generator<Runs> {
  const isFound = new Uint8Array(labels.length);
  for (let at = 0; at < labels.length; at++) if (!isFound[at]) yield regionAt(labels, size, at, isFound, corners);
}

/**
 * The region of a pixel, over edges, and over corners if these are 1.
 *
 * @param isFound whether a pixel is in a known region; what is found is added.
 */
export function regionAt(
  labels: Uint16Array,
  { width, height }: Size,
  start: number,
  isFound = new Uint8Array(labels.length),
  corners: 0 | 1 = 0,
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
      const from = Math.max(row, first - corners) + step,
        to = Math.min(end - 1, last + corners) + step;
      for (let at = from; at <= to; at++)
        // one seed for each stretch
        if (labels[at] === label && !isFound[at] && (at === from || labels[at - 1] !== label)) open.push(at);
    }
  }
  return Int32Array.from(runs);
}

/** Lengths of a step along an axis and of a diagonal one, by which the nearest pixel is found (Borgefors). */
export const STRAIGHT = 3,
  DIAGONAL = 4;

/** Longer than any distance in a map that is measured. */
const NEVER = 60_000;

/** How far each place is from the nearest one with another value, or from the border. */
export function distances(values: Uint16Array, size: Size, straight: number, diagonal: number): Uint16Array {
  const { width, height } = size;
  const far = new Uint16Array(values.length).fill(NEVER);
  const reach = (at: number, x: number, y: number, step: number) => {
    const isSame = x >= 0 && y >= 0 && x < width && y < height && values[y * width + x] === values[at];
    far[at] = Math.min(far[at], isSame ? far[y * width + x] + step : step);
  };
  // first from those beside a place that come before it, and then, on the way back, from those that come after it
  for (const way of [1, -1])
    for (let count = 0; count < far.length; count++) {
      const at = way > 0 ? count : far.length - 1 - count;
      const x = at % width,
        y = (at - x) / width;
      reach(at, x - way, y, straight);
      reach(at, x, y - way, straight);
      for (const column of [x - 1, x + 1]) reach(at, column, y - way, diagonal);
    }
  return far;
}

/** Share of a region's pixels in a box from which on it is meant. */
const MEANT = 0.8;

/** The pixels of all regions that lie in a box, most of each. */
export function regionsIn(labels: Uint16Array, size: Size, box: Box): Runs {
  const found: number[] = [];
  const { left, top, right, bottom } = box;
  for (const { runs, pixels } of connected(size.width, box, (pixel) => (labels[pixel] + 1) % 65536 || 65535)) {
    const part = boxOf(runs, size.width)!;
    const isWhole = part.left > left && part.top > top && part.right < right && part.bottom < bottom;
    if (!isWhole && pixels < MEANT * pixelsOf(regionAt(labels, size, runs[0]))) continue;
    for (const value of runs) found.push(value);
  }
  return Int32Array.from(found);
}

const FAR = 2 ** 30;

/** Pixels by the labels of the nearest pixels around them; nothing if there are no others. */
export function surroundings(labels: Uint16Array, runs: Runs, size: Size): Map<number, Runs> {
  const around = boxOf(runs, size.width);
  if (!around) return new Map();
  const { left, top, right, bottom } = around;
  // one pixel around it, even where the image ends, so that every pixel of it has neighbors
  const patch = new Patch(size.width, { left: left - 1, top: top - 1, right: right + 1, bottom: bottom + 1 });
  const { width, height, values: nearest } = patch;
  const distance = new Int32Array(width * height).fill(FAR);
  const inside = grown(around, 1, size);
  for (let y = inside.top; y < inside.bottom; y++) {
    const [from, to] = [inside.left, inside.right].map((x) => y * size.width + x);
    nearest.set(labels.subarray(from, to), patch.place(from));
    distance.fill(0, patch.place(from), patch.place(from) + to - from);
  }
  for (let run = 0; run < runs.length; run += 2) {
    const at = patch.place(runs[run]);
    distance.fill(FAR, at, at + runs[run + 1]);
  }
  const relax = (at: number, from: number, step: number) => {
    if (distance[from] + step >= distance[at]) return;
    distance[at] = distance[from] + step;
    nearest[at] = nearest[from];
  };
  // from those before a pixel, and then, on the way back, from those after it
  for (const way of [1, -1])
    for (let y = way > 0 ? 1 : height - 2; y > 0 && y + 1 < height; y += way)
      for (let x = way > 0 ? 1 : width - 2, at = y * width + x; x > 0 && x + 1 < width; x += way, at += way) {
        if (!distance[at]) continue;
        relax(at, at - way, STRAIGHT);
        relax(at, at - way * width, STRAIGHT);
        relax(at, at - way * (width + 1), DIAGONAL);
        relax(at, at - way * (width - 1), DIAGONAL);
      }
  if (distance[patch.place(runs[0])] >= FAR) return new Map();
  return split(runs, (pixel) => nearest[patch.place(pixel)]);
}

/** The pixels of each value but one, and the rectangle around them. */
export function extents(values: Uint16Array, size: Size, skipped = -1): Map<number, { area: number; box: Box }> {
  const found = split(rowsOf(size), (pixel) => values[pixel]);
  found.delete(skipped);
  return new Map([...found].map(([value, runs]) => [value, { area: pixelsOf(runs), box: boxOf(runs, size.width)! }]));
}
