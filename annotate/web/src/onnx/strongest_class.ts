/** Finds the strongest class of every pixel from coarse maps of any number of classes. */

import { type Axis, axis, type Grid } from "./feature_maps";

/** Cells of the coarse maps along a tile's side: small enough for a processor's caches. */
const TILE = 16;

/** Logits of K classes on a coarse grid. */
export interface Maps extends Grid {
  readonly classes: number;
}

/**
 * The strongest class of every pixel, by its place among the maps, and its logit, -Infinity if there is none; the lowest
 * index wins a tie.
 *
 * Maps are interpolated to the image tile by tile (bilinear, corners not aligned). An interpolated value lies between
 * the minimum and maximum of its cells, so a class whose maximum in a tile is below the minimum of another class can't
 * win there, and only the other classes are interpolated.
 */
export function strongestClass(maps: Maps, height: number, width: number, among: readonly number[] = [...Array(maps.classes).keys()]) {
  const index = new Uint16Array(height * width);
  const value = new Float32Array(height * width).fill(-Infinity);
  const along = { rows: axis(maps.rows, height), columns: axis(maps.columns, width) };
  const rowTiles = tiles(along.rows), columnTiles = tiles(along.columns);
  for (const y of rowTiles) {
    for (const x of columnTiles) {
      for (const contender of contenders(maps, among, y, x)) update(maps, contender, along, y, x, width, index, value);
    }
  }
  return { index, value };
}

/** A range of pixels, and of the cells around them; the ends are not included. */
interface Range {
  readonly start: number;
  readonly end: number;
  readonly firstCell: number;
  readonly endCell: number;
}

function tiles({ lower, upper }: Axis): Range[] {
  const result: Range[] = [];
  for (let start = 0, end = 0; start < lower.length; start = end) {
    const tile = Math.floor(lower[start] / TILE);
    while (end < lower.length && Math.floor(lower[end] / TILE) === tile) end++;
    result.push({ start, end, firstCell: lower[start], endCell: upper[end - 1] + 1 });
  }
  return result;
}

function contenders({ values, rows, columns }: Maps, among: readonly number[], y: Range, x: Range): number[] {
  const highest = new Float32Array(among.length).fill(-Infinity);
  let bound = -Infinity;
  for (const [place, number] of among.entries()) {
    let lowest = Infinity;
    for (let row = y.firstCell; row < y.endCell; row++) {
      const start = (number * rows + row) * columns;
      for (let at = start + x.firstCell; at < start + x.endCell; at++) {
        if (values[at] > highest[place]) highest[place] = values[at];
        if (values[at] < lowest) lowest = values[at];
      }
    }
    if (lowest > bound) bound = lowest;
  }
  return among.filter((_, place) => highest[place] >= bound);
}

function update(
  { values, rows, columns }: Maps,
  number: number,
  along: { rows: Axis; columns: Axis },
  y: Range,
  x: Range,
  width: number,
  index: Uint16Array,
  value: Float32Array,
): void {
  const across = x.end - x.start;
  const lines = new Float32Array((y.endCell - y.firstCell) * across);
  for (let row = y.firstCell, to = 0; row < y.endCell; row++) {
    const start = (number * rows + row) * columns;
    for (let at = x.start; at < x.end; at++) {
      const low = values[start + along.columns.lower[at]], high = values[start + along.columns.upper[at]];
      lines[to++] = low + along.columns.share[at] * (high - low);
    }
  }
  for (let row = y.start; row < y.end; row++) {
    const low = (along.rows.lower[row] - y.firstCell) * across, high = (along.rows.upper[row] - y.firstCell) * across;
    const fraction = along.rows.share[row];
    for (let at = 0, to = row * width + x.start; at < across; at++, to++) {
      // rounded to 32 bits before it is compared, as it is when it is stored
      const found = Math.fround(lines[low + at] + fraction * (lines[high + at] - lines[low + at]));
      if (found > value[to]) {
        value[to] = found;
        index[to] = number;
      }
    }
  }
}
