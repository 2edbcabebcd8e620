/** The outlines of regions as polygons. */

import { regionAt } from "./connected";
import { distance, nearestOn, type Point, type Size } from "./runs";

/** How far a simplified outline may be from the pixels' edges [px]. */
const TOLERANCE = 1;

/** A region of one label, connected over edges. */
export interface Outline {
  readonly label: number;
  /** Its outer border, with its holes joined to it: a polygon whose inside is the region. */
  readonly points: readonly Point[];
}

/** Directions along the edges of pixels: right, down, left, up. */
const STEPS = [
  [1, 0],
  [0, 1],
  [-1, 0],
  [0, -1],
] as const;

/** From a corner, the pixel on the right of a step in each direction; on its left is that of the direction before. */
const RIGHT = [
  [0, 0],
  [-1, 0],
  [-1, -1],
  [0, -1],
] as const;

/**
 * The outlines of all regions, in the order of their first pixels.
 *
 * @param labels label of each pixel.
 * @param skipped a label whose regions aren't outlined.
 * @param tolerance how far an outline may be from the pixels' edges [px]; 0: it has all of their corners.
 */
export function outlines(
  labels: Uint16Array,
  { width, height }: Size,
  skipped: number,
  tolerance = TOLERANCE,
): Outline[] {
  const owner = new Int32Array(labels.length);
  const isClaimed = new Uint8Array(labels.length),
    isTraced = new Uint8Array(labels.length);
  const found: { label: number; outer: Point[]; holes: Point[][] }[] = [];
  for (let at = 0; at < labels.length; at++) {
    const label = labels[at];
    if (label === skipped || isTraced[at] || (at >= width && labels[at - width] === label)) continue;
    // every border has a pixel below it, and the first one of a region belongs to its outer border
    const ring = traced(labels, width, height, at, isTraced);
    if (area(ring) > 0) {
      const runs = regionAt(labels, { width, height }, at, isClaimed);
      for (let run = 0; run < runs.length; run += 2) owner.fill(found.length, runs[run], runs[run] + runs[run + 1]);
      found.push({ label, outer: ring, holes: [] });
    } else found[owner[at]].holes.push(ring);
  }
  return found.map(({ label, outer, holes }) => ({
    label,
    points: holes.map((hole) => simplified(hole, tolerance)).reduce(bridged, simplified(outer, tolerance)),
  }));
}

/** Corners of the border that begins above a pixel, clockwise around it; marks the pixels that lie below the border. */
function traced(labels: Uint16Array, width: number, height: number, start: number, isTraced: Uint8Array): Point[] {
  const label = labels[start];
  const isInside = (x: number, y: number) =>
    x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] === label;
  const corners: Point[] = [];
  let x = start % width,
    y = (start - x) / width,
    direction = 0;
  for (;;) {
    if (direction === 0) {
      const pixel = y * width + x;
      if (isTraced[pixel]) return corners;
      isTraced[pixel] = 1;
    }
    x += STEPS[direction][0];
    y += STEPS[direction][1];
    // the pixels on the right and left of the next step
    const [right, left] = [direction, direction + 3].map((at) => RIGHT[at % 4]);
    const turn = !isInside(x + right[0], y + right[1]) ? 1 : !isInside(x + left[0], y + left[1]) ? 0 : 3;
    if (turn) corners.push({ x, y });
    direction = (direction + turn) % 4;
  }
}

/** Twice the area of a polygon; positive if it runs clockwise as the screen shows it. */
export function area(points: readonly Point[]): number {
  let sum = 0;
  for (const [at, { x, y }] of points.entries()) {
    const next = points[(at + 1) % points.length];
    sum += x * next.y - next.x * y;
  }
  return sum;
}

/** A closed line with fewer points (Douglas and Peucker), unless too little of it would be left. */
function simplified(ring: Point[], tolerance: number): Point[] {
  // the two ends stay: the first point, and the one farthest from it
  let farthest = 0;
  for (const at of ring.keys()) if (distance(ring[at], ring[0]) > distance(ring[farthest], ring[0])) farthest = at;
  const closed = [...ring, ring[0]];
  const isKept = new Uint8Array(closed.length);
  isKept[0] = isKept[farthest] = 1;
  const open = [
    [0, farthest],
    [farthest, ring.length],
  ];
  while (open.length) {
    const [first, last] = open.pop()!;
    let most = tolerance,
      place = -1;
    for (let at = first + 1; at < last; at++) {
      const apart = distance(closed[at], nearestOn(closed[first], closed[last], closed[at]));
      if (apart > most) [most, place] = [apart, at];
    }
    if (place < 0) continue;
    isKept[place] = 1;
    open.push([first, place], [place, last]);
  }
  const kept = ring.filter((_, at) => isKept[at]);
  return kept.length > 3 ? kept : ring;
}

/** A polygon and a hole as one line: there and back over a bridge, which has no inside. */
function bridged(outer: Point[], hole: Point[]): Point[] {
  let nearest = 0;
  for (const at of outer.keys()) if (distance(outer[at], hole[0]) < distance(outer[nearest], hole[0])) nearest = at;
  return [...outer.slice(0, nearest + 1), ...hole, hole[0], ...outer.slice(nearest)];
}
