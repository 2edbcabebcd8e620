/** The small convolutional network on feature maps whose output the classifiers of fine-tuned words read. */

import { CLASS_LOGITS, interpolated, type FeatureMap } from "./feature_maps";

/** Dilations of the convolutions on the coarse map. */
const DILATIONS = [1, 2, 4];

/** Groups of channels that are normalized together. */
export const GROUPS = 8;

/** Cells of the output per cell of the coarse map, along each axis. */
const FINER = 2;

const EPSILON = 1e-5;

/** The weights; norms have gains, then offsets. */
export type FeaturePyramid = Readonly<Record<keyof ReturnType<typeof pyramidShapes>, Float32Array>>;

/**
 * The shapes of the weights.
 *
 * @param channels of the output, a multiple of `GROUPS`.
 * @param coarse channels of the coarse map.
 * @param fine channels of all finer ones.
 */
export function pyramidShapes(channels: number, coarse: number, fine: number) {
  const norm = [2, channels], kernels = [channels, channels, 3, 3];
  return {
    coarse: [channels, coarse],
    coarse_norm: norm,
    context: [DILATIONS.length, ...kernels],
    context_norm: [DILATIONS.length, ...norm],
    fine: [channels, fine],
    sum_norm: norm,
    blend: kernels,
    blend_norm: norm,
  };
}

/** The maps that a pyramid reads, standardized by each feature's mean and scale: all but the known classes' logits. */
export function pyramidInputs(maps: readonly FeatureMap[], mean: Float32Array, scale: Float32Array): FeatureMap[] {
  let first = 0;
  return maps.flatMap((map) => {
    const own = first;
    first += map.channels;
    if (map.name === CLASS_LOGITS) return [];
    const values = new Float32Array(map.values.length), cells = map.rows * map.columns;
    for (let channel = 0, at = 0; channel < map.channels; channel++) {
      const center = mean[own + channel], factor = 1 / scale[own + channel];
      for (const end = at + cells; at < end; at++) values[at] = (map.values[at] - center) * factor;
    }
    return [{ ...map, values }];
  });
}

/** The output of a pyramid for standardized maps, the coarse one first: twice as many rows and columns as that has. */
export function pyramidOutput(weights: FeaturePyramid, [coarse, ...finer]: readonly FeatureMap[]): FeatureMap {
  const channels = weights.coarse_norm.length / 2, kernels = 9 * channels * channels;
  const { rows, columns } = coarse;
  let x = projected([coarse], weights.coarse, channels, rows, columns);
  normalizeAndRectify(x.values, weights.coarse_norm);
  for (const [number, dilation] of DILATIONS.entries()) {
    const around = convolved(x, weights.context.subarray(number * kernels, (number + 1) * kernels), dilation);
    const norm = weights.context_norm.subarray(2 * number * channels, 2 * (number + 1) * channels);
    normalizeAndRectify(around.values, norm);
    addTo(x.values, around.values);
  }
  x = interpolated(x, FINER * rows, FINER * columns);
  if (finer.length) addTo(x.values, projected(finer, weights.fine, channels, x.rows, x.columns).values);
  normalizeAndRectify(x.values, weights.sum_norm);
  const output = convolved(x, weights.blend, 1);
  normalizeAndRectify(output.values, weights.blend_norm);
  return output;
}

function addTo(total: Float32Array, values: Float32Array): void {
  for (let at = 0; at < total.length; at++) total[at] += values[at];
}

/** A linear map of the channels of all maps, interpolated to one grid. */
function projected(
  maps: readonly FeatureMap[],
  weights: Float32Array,
  channels: number,
  rows: number,
  columns: number,
): FeatureMap {
  const cells = rows * columns, width = weights.length / channels;
  const values = new Float32Array(channels * cells);
  let first = 0;
  for (const map of maps) {
    const read = interpolated(map, rows, columns).values;
    for (let channel = 0; channel < channels; channel++) {
      const start = channel * cells;
      for (let input = 0, from = 0; input < map.channels; input++) {
        const weight = weights[channel * width + first + input];
        for (let to = start; to < start + cells; to++, from++) values[to] += weight * read[from];
      }
    }
    first += map.channels;
  }
  return { name: "pyramid", values, channels, rows, columns };
}

/** A convolution with 3 x 3 cells and as many channels as the map has, with zeros around it. */
function convolved(map: FeatureMap, weights: Float32Array, dilation: number): FeatureMap {
  const { channels, rows, columns } = map;
  const padded = withBorder(map, dilation), width = columns + 2 * dilation, plane = width * (rows + 2 * dilation);
  const values = new Float32Array(map.values.length);
  for (let output = 0; output < channels; output++) {
    for (let input = 0; input < channels; input++) {
      const at = 9 * (output * channels + input);
      const [a, b, c, d, e, f, g, h, i] = weights.subarray(at, at + 9);
      for (let row = 0; row < rows; row++) {
        let upper = input * plane + row * width;
        let center = upper + dilation * width;
        let lower = center + dilation * width;
        let to = (output * rows + row) * columns;
        for (const end = to + columns; to < end; to++, upper++, center++, lower++) {
          values[to] +=
            a * padded[upper] + b * padded[upper + dilation] + c * padded[upper + 2 * dilation] +
            d * padded[center] + e * padded[center + dilation] + f * padded[center + 2 * dilation] +
            g * padded[lower] + h * padded[lower + dilation] + i * padded[lower + 2 * dilation];
        }
      }
    }
  }
  return { ...map, values };
}

/** The values of a map with cells of zeros around it. */
function withBorder({ values, channels, rows, columns }: FeatureMap, border: number): Float32Array {
  const width = columns + 2 * border, height = rows + 2 * border;
  const result = new Float32Array(channels * height * width);
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < rows; row++) {
      const from = (channel * rows + row) * columns;
      result.set(values.subarray(from, from + columns), (channel * height + row + border) * width + border);
    }
  }
  return result;
}

/** Group normalization (Wu and He, 2018, arXiv:1803.08494), then 0 for what is negative. */
function normalizeAndRectify(values: Float32Array, norm: Float32Array): void {
  const channels = norm.length / 2, cells = values.length / channels, size = values.length / GROUPS;
  for (let start = 0; start < values.length; start += size) {
    const end = start + size;
    let sum = 0, squares = 0;
    for (let at = start; at < end; at++) sum += values[at];
    const mean = sum / size;
    for (let at = start; at < end; at++) squares += (values[at] - mean) ** 2;
    const factor = 1 / Math.sqrt(squares / size + EPSILON);
    for (let at = start; at < end; ) {
      const channel = at / cells, gain = factor * norm[channel], offset = norm[channels + channel];
      for (const last = at + cells; at < last; at++) values[at] = Math.max(0, (values[at] - mean) * gain + offset);
    }
  }
}
