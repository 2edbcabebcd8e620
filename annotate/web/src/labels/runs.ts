/** Stretches of pixels: what tools paint, and what the history remembers. */

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

/** Adds the pixels of a row whose centers lie between two places; both may be outside of the image. */
export function addSpan(runs: number[], { width }: Size, y: number, from: number, to: number): void {
  const first = Math.max(0, Math.ceil(from - 0.5)),
    last = Math.min(width - 1, Math.floor(to - 0.5));
  if (last >= first) runs.push(y * width + first, last - first + 1);
}
