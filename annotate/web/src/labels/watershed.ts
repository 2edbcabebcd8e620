/** Where a shape is narrow: its pixels by their distance from its border. */

import type { Patch } from "./connected";

/** Distances over an edge and over a corner, in thirds of a pixel, which stay within 8 % of the true ones. */
const EDGE = 3,
  CORNER = 4;

/** Share of its height by which a peak has to rise above the pass to a higher one to be a body of its own. */
const LEAST_RISE = 0.15;

/** Distance of each place with the value `inside` to the nearest one without [thirds of a pixel]; 0 outside. */
export function distances(patch: Patch, inside: number): Int32Array {
  const { width, height, values } = patch;
  const far = Int32Array.from(values, (value) => (value === inside ? CORNER * (width + height) : 0));
  const at = (x: number, y: number) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : far[y * width + x]);
  const relax = (x: number, y: number, side: -1 | 1) => {
    const place = y * width + x;
    if (!far[place]) return;
    far[place] = Math.min(
      far[place],
      at(x + side, y) + EDGE,
      at(x, y + side) + EDGE,
      at(x - 1, y + side) + CORNER,
      at(x + 1, y + side) + CORNER,
    );
  };
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) relax(x, y, -1);
  for (let y = height - 1; y >= 0; y--) for (let x = width - 1; x >= 0; x--) relax(x, y, 1);
  return far;
}

/**
 * Divide the places with the value `inside` among markers: water rises from them, and where two waters meet, which is
 * where the shape is narrow, they end. Marker n gives its places the value `first` + n; what no water reaches is left.
 *
 * @param markers places, which are inside.
 */
export function watershed(patch: Patch, inside: number, markers: readonly number[], first: number): void {
  const far = distances(patch, inside);
  const { values } = patch;
  const levels: number[][] = [];
  const push = (place: number, level: number) => (levels[level] ??= []).push(place);
  for (const [at, place] of markers.entries()) {
    if (values[place] !== inside) continue;
    values[place] = first + at;
    push(place, far[place]);
  }
  for (let level = levels.length - 1; level > 0; level--) {
    // grows while it is gone through
    for (const place of levels[level] ?? [])
      patch.around(place, (beside) => {
        if (values[beside] !== inside) return;
        values[beside] = values[place];
        push(beside, Math.min(level, far[beside]));
      });
  }
}

/** The middles of the two bodies that are divided most clearly by a neck; null: the shape has no neck. */
export function bodies(patch: Patch, inside: number): [number, number] | null {
  const far = distances(patch, inside);
  const order = patch.values.length ? byHeight(far) : [];
  const parents = new Int32Array(far.length).fill(-1);
  /** The highest place of what is joined at a root. */
  const peaks = new Int32Array(far.length);
  const root = (place: number): number => {
    while (parents[place] !== place) place = parents[place] = parents[parents[place]];
    return place;
  };
  let best: [number, number] | null = null,
    most = 0;
  for (const place of order) {
    parents[place] = place;
    peaks[place] = place;
    patch.around(place, (beside) => {
      if (parents[beside] < 0) return;
      const [one, other] = [root(place), root(beside)];
      if (one === other) return;
      const [high, low] = far[peaks[one]] >= far[peaks[other]] ? [one, other] : [other, one];
      const rise = far[peaks[low]] - far[place];
      if (rise > most && rise >= LEAST_RISE * far[peaks[low]]) {
        most = rise;
        best = [peaks[high], peaks[low]];
      }
      parents[low] = high;
    });
  }
  return best;
}

/** The places inside, the farthest from the border first. */
function byHeight(far: Int32Array): number[] {
  const levels: number[][] = [];
  for (let at = 0; at < far.length; at++) if (far[at]) (levels[far[at]] ??= []).push(at);
  return levels.reverse().flat();
}
