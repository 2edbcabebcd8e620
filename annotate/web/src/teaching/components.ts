/** Principal components of the features of cells, on which words are told apart. */

import { float16 } from "../onnx/float16";
import type { Cells } from "./cells";
import { largestEigenvectors } from "./eigenvectors";
import type { Pause } from "./pause";

/** Components that classifiers are fitted on; all further ones are noise at these numbers of images. */
const MOST = 256;

/** Root mean square length of the components of a cell, which sets the scale of the penalty. */
const LENGTH = 10;

/** Cells that are read together. */
const BLOCK = 512;

/** Standardized features (x - mean) / scale and their components. */
export interface Components {
  readonly mean: Float32Array;
  readonly scale: Float32Array;
  /** From standardized features to components: (components, channels). */
  readonly basis: Float64Array;
  readonly count: number;
}

/** The principal components of some cells. */
export async function componentsOf(cells: Cells, pause: Pause): Promise<Components> {
  const { channels } = cells;
  const { mean, scale } = await standards(cells, pause);
  const covariance = new Float64Array(channels * channels);
  for (let start = 0; start < cells.count; start += BLOCK) {
    const rows = Math.min(BLOCK, cells.count - start);
    await addSquares(covariance, standardized(cells, mean, scale, start, rows), channels, rows, cells.count, pause);
  }
  const count = Math.min(MOST, channels);
  const { values, vectors } = await largestEigenvectors(covariance, channels, count, pause);
  const length = Math.sqrt(Math.max(values.reduce((sum, value) => sum + value, 0), 1e-12));
  return { mean, scale, basis: vectors.map((value) => Math.fround((value * LENGTH) / length)), count };
}

/** The components of all cells, with a last one of 1 for the bias: (cells, components + 1). */
export async function reducedCells(cells: Cells, { mean, scale, basis, count }: Components, pause: Pause): Promise<Float64Array> {
  const { channels } = cells;
  const found = new Float64Array(cells.count * (count + 1)).fill(1);
  for (let start = 0; start < cells.count; start += BLOCK) {
    const rows = Math.min(BLOCK, cells.count - start);
    const columns = standardized(cells, mean, scale, start, rows);
    const sums = new Float64Array(rows);
    for (let component = 0; component < count; component++) {
      await pause();
      weighted(columns, basis.subarray(component * channels, (component + 1) * channels), rows, sums);
      for (let row = 0, to = start * (count + 1) + component; row < rows; row++, to += count + 1)
        found[to] = Math.fround(sums[row]);
    }
  }
  return found;
}

/** Mean and standard deviation of each feature. */
async function standards({ features, channels, count }: Cells, pause: Pause): Promise<Pick<Components, "mean" | "scale">> {
  const sums = new Float64Array(channels), squares = new Float64Array(channels);
  const row = (at: number) => float16(features.subarray(at * channels, (at + 1) * channels));
  for (let at = 0; at < count; at++) {
    await pause();
    row(at).forEach((value, channel) => (sums[channel] += value));
  }
  const mean = Float32Array.from(sums, (sum) => sum / count);
  for (let at = 0; at < count; at++) {
    await pause();
    row(at).forEach((value, channel) => (squares[channel] += (value - mean[channel]) ** 2));
  }
  return { mean, scale: Float32Array.from(squares, (sum) => Math.sqrt(sum / count) + 1e-4) };
}

/** The standardized features of some cells, by channels: (channels, rows). */
function standardized(
  { features, channels }: Cells,
  mean: Float32Array,
  scale: Float32Array,
  start: number,
  rows: number,
): Float64Array {
  const values = float16(features.subarray(start * channels, (start + rows) * channels));
  const columns = new Float64Array(channels * rows);
  for (let row = 0, from = 0; row < rows; row++)
    for (let channel = 0; channel < channels; channel++, from++)
      columns[channel * rows + row] = (values[from] - mean[channel]) / scale[channel];
  return columns;
}

/** Sums of columns, each with a weight. */
function weighted(columns: Float64Array, weights: Float64Array, rows: number, sums: Float64Array): void {
  sums.fill(0);
  const four = weights.length - (weights.length % 4);
  for (let channel = 0; channel < four; channel += 4) {
    const [a, b, c, d] = [weights[channel], weights[channel + 1], weights[channel + 2], weights[channel + 3]];
    for (let row = 0, at = channel * rows; row < rows; row++, at++)
      sums[row] += a * columns[at] + b * columns[at + rows] + c * columns[at + 2 * rows] + d * columns[at + 3 * rows];
  }
  for (let channel = four; channel < weights.length; channel++)
    for (let row = 0, at = channel * rows; row < rows; row++, at++) sums[row] += weights[channel] * columns[at];
}

/** Add the products of all pairs of columns, divided by the number of cells, to a lower triangle. */
async function addSquares(
  covariance: Float64Array,
  columns: Float64Array,
  channels: number,
  rows: number,
  cells: number,
  pause: Pause,
): Promise<void> {
  for (let i = 0; i < channels; i += 4) {
    await pause();
    for (let j = 0; j <= i; j += 4) {
      if (i + 4 <= channels) addTile(covariance, columns, channels, rows, cells, i, j);
      else addRest(covariance, columns, channels, rows, cells, i, j);
    }
  }
}

/** The products of four columns with four others, whose sums stay in registers: this takes most of the time. */
function addTile(
  covariance: Float64Array,
  columns: Float64Array,
  channels: number,
  rows: number,
  cells: number,
  i: number,
  j: number,
): void {
  let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0, k = 0, l = 0, m = 0, n = 0, o = 0, p = 0, q = 0, r = 0;
  const x0 = i * rows, x1 = x0 + rows, x2 = x1 + rows, x3 = x2 + rows;
  const y0 = j * rows, y1 = y0 + rows, y2 = y1 + rows, y3 = y2 + rows;
  for (let row = 0; row < rows; row++) {
    const s = columns[x0 + row], t = columns[x1 + row], u = columns[x2 + row], v = columns[x3 + row];
    const w = columns[y0 + row], x = columns[y1 + row], y = columns[y2 + row], z = columns[y3 + row];
    a += s * w; b += s * x; c += s * y; d += s * z;
    e += t * w; f += t * x; g += t * y; h += t * z;
    k += u * w; l += u * x; m += u * y; n += u * z;
    o += v * w; p += v * x; q += v * y; r += v * z;
  }
  const sums = [a, b, c, d, e, f, g, h, k, l, m, n, o, p, q, r];
  for (let at = 0; at < 16; at++) covariance[(i + (at >> 2)) * channels + j + (at & 3)] += sums[at] / cells;
}

/** The same for fewer than four columns at the end. */
function addRest(
  covariance: Float64Array,
  columns: Float64Array,
  channels: number,
  rows: number,
  cells: number,
  from: number,
  j: number,
): void {
  for (let i = from; i < channels; i++) {
    for (let other = j; other < Math.min(j + 4, channels); other++) {
      let sum = 0;
      for (let row = 0; row < rows; row++) sum += columns[i * rows + row] * columns[other * rows + row];
      covariance[i * channels + other] += sum / cells;
    }
  }
}
