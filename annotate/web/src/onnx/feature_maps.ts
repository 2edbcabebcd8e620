/** Feature maps of an image. */

import { PageError } from "../backend";

/** Values on the cells of a grid over an image, or over a rectangle of it, row by row. */
export interface Grid {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** A feature map, or maps of logits: (channels, rows, columns). */
export interface FeatureMap extends Grid {
  readonly name: string;
  readonly channels: number;
}

/** The map with the logits of the classes that the encoder knows. */
export const CLASS_LOGITS = "class_logits";

/** The names of the maps that classifiers read, in order. */
export function readNames(names: readonly string[]): string[] {
  const first = firstName(names);
  if (!first) throw new PageError("Words can't be taught to this network, which has no feature maps of whole images.");
  // by number: "tap_10" comes after "tap_2"
  const number = (name: string) => Number(name.slice("tap_".length));
  const taps = names.filter((name) => name.startsWith("tap_")).sort((one, other) => number(one) - number(other));
  return [first, ...names.filter((name) => name === CLASS_LOGITS), ...taps];
}

/** The name of the first map that classifiers read. */
export function firstName(names: readonly string[]): string | undefined {
  return ["appearance", "map_0"].find((name) => names.includes(name));
}

/** A map on another grid, interpolated bilinearly; of that grid already, it is returned as it is. */
export function interpolated(map: FeatureMap, rows: number, columns: number): FeatureMap {
  if (map.rows === rows && map.columns === columns) return map;
  const own = map.rows * map.columns, cells = rows * columns;
  const values = new Float32Array(map.channels * cells);
  for (let channel = 0; channel < map.channels; channel++) {
    const plane = map.values.subarray(channel * own, (channel + 1) * own);
    addInterpolated(values.subarray(channel * cells, (channel + 1) * cells), plane, map, rows, columns);
  }
  return { ...map, values, rows, columns };
}

/** Add one channel that is interpolated bilinearly, corners not aligned. */
export function addInterpolated(
  total: Float32Array,
  plane: Float32Array | Float64Array,
  grid: Omit<Grid, "values">,
  rows: number,
  columns: number,
  down = axis(grid.rows, rows),
  across = axis(grid.columns, columns),
): void {
  for (let row = 0, to = 0; row < rows; row++) {
    const upper = down.lower[row] * grid.columns, lower = down.upper[row] * grid.columns, share = down.share[row];
    for (let column = 0; column < columns; column++, to++) {
      const left = across.lower[column], right = across.upper[column], along = across.share[column];
      const above = plane[upper + left] * (1 - along) + plane[upper + right] * along;
      const below = plane[lower + left] * (1 - along) + plane[lower + right] * along;
      total[to] += above * (1 - share) + below * share;
    }
  }
}

/** Where an axis's pixels lie: between which two cells, the weight of the upper one, and whether it is beside any. */
export interface Axis {
  readonly lower: Int32Array;
  readonly upper: Int32Array;
  readonly share: Float32Array;
  readonly isInside: Uint8Array;
}

/** @param first where the first pixel begins [cells]. @param step the length of a pixel [cells]. */
export function axis(cells: number, pixels: number, first = 0, step = cells / pixels): Axis {
  const lower = new Int32Array(pixels), upper = new Int32Array(pixels), share = new Float32Array(pixels);
  const isInside = new Uint8Array(pixels);
  for (let at = 0; at < pixels; at++) {
    const place = first + (at + 0.5) * step - 0.5;
    isInside[at] = Number(place > -1 && place < cells);
    const kept = Math.max(0, Math.min(cells - 1, place));
    lower[at] = Math.floor(kept);
    upper[at] = Math.min(cells - 1, lower[at] + 1);
    share[at] = kept - lower[at];
  }
  return { lower, upper, share, isInside };
}

/** The value of each of all numbers of 16 bits (IEEE 754's half precision), which not every browser knows. */
const VALUES = Float32Array.from({ length: 1 << 16 }, (_, half) => {
  const exponent = (half >> 10) & 31, fraction = half & 1023;
  // numbers below the smallest exponent have no leading 1
  const size = 2 ** (Math.max(1, exponent) - 25) * (fraction + (exponent ? 1024 : 0));
  if (exponent === 31) return fraction ? NaN : half >> 15 ? -Infinity : Infinity;
  return half >> 15 ? -size : size;
});

export function float16(numbers: Uint16Array): Float32Array {
  const found = new Float32Array(numbers.length);
  for (let at = 0; at < numbers.length; at++) found[at] = VALUES[numbers[at]];
  return found;
}
