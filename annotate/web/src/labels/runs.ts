/** Stretches of pixels: what tools paint, and what the history remembers; those of a brush and of a polygon. */

/** Start and length of stretches of pixels that follow each other in rows: start, length, start, length, ... */
export type Runs = Int32Array;

/** A rectangle of pixels; `right` and `bottom` are not included. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface Size {
  readonly width: number;
  readonly height: number;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The place of a pixel among those of an image; null: it is outside of the image. */
export function pixelAt({ x, y }: Point, { width, height }: Size): number | null {
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  return Math.floor(y) * width + Math.floor(x);
}

export function holds({ left, top, right, bottom }: Box, { x, y }: Point): boolean {
  return left <= x && x < right && top <= y && y < bottom;
}

/** The smallest rectangle around runs, none of which goes past the end of its row; null without runs. */
export function boxOf(runs: ArrayLike<number>, width: number, stride = 2): Box | null {
  if (!runs.length) return null;
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  for (let at = 0; at < runs.length; at += stride) {
    const y = Math.floor(runs[at] / width),
      x = runs[at] - y * width;
    left = Math.min(left, x);
    right = Math.max(right, x + runs[at + 1]);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y + 1);
  }
  return { left, top, right, bottom };
}

/** The smallest rectangle around two. */
export function joined(one: Box | null, other: Box | null): Box | null {
  if (!one || !other) return one ?? other;
  return {
    left: Math.min(one.left, other.left),
    top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

export function whole({ width, height }: Size): Box {
  return { left: 0, top: 0, right: width, bottom: height };
}

/** A rectangle with more around it, as far as the image goes. */
export function grown({ left, top, right, bottom }: Box, by: number, { width, height }: Size): Box {
  return {
    left: Math.max(0, left - by),
    top: Math.max(0, top - by),
    right: Math.min(width, right + by),
    bottom: Math.min(height, bottom + by),
  };
}

export function rowsOf({ width, height }: Size): Runs {
  return Int32Array.from({ length: 2 * height }, (_, at) => (at % 2 ? width : (at / 2) * width));
}

/** The parts of runs by what their pixels have in common. */
export function split<Key>(runs: Runs, keyOf: (pixel: number) => Key): Map<Key, Runs> {
  const found = new Map<Key, number[]>();
  for (let run = 0; run < runs.length; run += 2) {
    for (let at = runs[run], end = at + runs[run + 1]; at < end;) {
      const start = at++,
        key = keyOf(start);
      while (at < end && keyOf(at) === key) at++;
      const parts = found.get(key);
      if (parts) parts.push(start, at - start);
      else found.set(key, [start, at - start]);
    }
  }
  return new Map([...found].map(([key, parts]) => [key, Int32Array.from(parts)]));
}

export function forRuns(runs: ArrayLike<number>, visit: (pixel: number) => void): void {
  for (let at = 0; at < runs.length; at += 2)
    for (let pixel = runs[at], end = pixel + runs[at + 1]; pixel < end; pixel++) visit(pixel);
}

export function pixelsOf(runs: Runs): number {
  return runs.reduce((sum, length, at) => (at % 2 ? sum + length : sum), 0);
}

/** How many pixels two lists of stretches have in common, both in the order of their pixels. */
export function commonPixels(one: Runs, other: Runs): number {
  let sum = 0;
  for (let at = 0, to = 0; at < one.length && to < other.length;) {
    const [end, last] = [one[at] + one[at + 1], other[to] + other[to + 1]];
    sum += Math.max(0, Math.min(end, last) - Math.max(one[at], other[to]));
    if (end < last) at += 2;
    else to += 2;
  }
  return sum;
}

export function distance(one: Point, other: Point): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

/** The place of a straight line that is nearest to another place. */
export function nearestOn(from: Point, to: Point, at: Point): Point {
  const [x, y] = [to.x - from.x, to.y - from.y];
  const along = ((at.x - from.x) * x + (at.y - from.y) * y) / (x * x + y * y || 1);
  const share = Math.max(0, Math.min(1, along));
  return { x: from.x + share * x, y: from.y + share * y };
}

/** Adds the pixels of a row whose centers lie between two places; both may be outside of the image. */
function addSpan(runs: number[], { width }: Size, y: number, from: number, to: number): void {
  const first = Math.max(0, Math.ceil(from - 0.5)),
    last = Math.min(width - 1, Math.floor(to - 0.5));
  if (last >= first) runs.push(y * width + first, last - first + 1);
}

/** Pixels that a round brush covers on its way from one place to another; at least the one below it. */
export function stroke(from: Point, to: Point, radius: number, size: Size): Runs {
  const runs: number[] = [];
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const side = length && { x: ((from.y - to.y) / length) * radius, y: ((to.x - from.x) / length) * radius };
  const band = side && [
    { x: from.x + side.x, y: from.y + side.y },
    { x: to.x + side.x, y: to.y + side.y },
    { x: to.x - side.x, y: to.y - side.y },
    { x: from.x - side.x, y: from.y - side.y },
  ];
  const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
  const bottom = Math.min(size.height - 1, Math.ceil(Math.max(from.y, to.y) + radius));
  for (let y = top; y <= bottom; y++) {
    // the shape is convex, so the row's pixels lie between the outermost crossings
    const crossings = band ? crossed(band, y + 0.5) : [];
    for (const end of [from, to]) {
      const half = Math.sqrt(radius * radius - (y + 0.5 - end.y) ** 2);
      if (half >= 0) crossings.push(end.x - half, end.x + half);
    }
    if (crossings.length) addSpan(runs, size, y, Math.min(...crossings), Math.max(...crossings));
  }
  const pixel = pixelAt(to, size);
  if (!runs.length && pixel !== null) runs.push(pixel, 1);
  return Int32Array.from(runs);
}

/** Pixels whose centers lie inside a polygon; where it crosses itself, by the even-odd rule. */
export function polygon(points: readonly Point[], size: Size): Runs {
  const runs: number[] = [];
  const heights = points.map(({ y }) => y);
  const top = Math.max(0, Math.floor(Math.min(...heights)));
  const bottom = Math.min(size.height - 1, Math.ceil(Math.max(...heights)));
  for (let y = top; y <= bottom; y++) {
    const crossings = crossed(points, y + 0.5).sort((one, other) => one - other);
    for (let at = 0; at + 1 < crossings.length; at += 2) addSpan(runs, size, y, crossings[at], crossings[at + 1]);
  }
  return Int32Array.from(runs);
}

/** Where the sides of a polygon cross a horizontal line. */
function crossed(points: readonly Point[], y: number): number[] {
  const result: number[] = [];
  for (const [at, one] of points.entries()) {
    const other = points[(at + 1) % points.length];
    if (one.y <= y !== other.y <= y) result.push(one.x + ((y - one.y) / (other.y - one.y)) * (other.x - one.x));
  }
  return result;
}
