/** Pillow's bilinear resampling of 8-bit images: what the networks' inputs are made with. */

import type { Pixels } from "../backend";

/** Fixed-point weights have this many bits after the point, so that 255 times their sum fits into 32 bits. */
const BITS = 22;

/**
 * Resize an image as `Image.resize(size, Resampling.BILINEAR)` does, up to rounding.
 *
 * A triangle filter as wide as two source pixels, or two result pixels where the image shrinks (antialiasing); first
 * along the rows, then along the columns, each rounded to 8 bits. (Since version 13, Pillow takes the columns first where
 * it reckons that to be faster; some values then differ by 1.)
 *
 * @returns RGB values in [0, 255], as planes (3, height, width).
 */
export function resizedPlanes(image: Pixels, height: number, width: number): Float32Array {
  const rows = alongRows(image, width);
  const result = new Float32Array(3 * height * width);
  const filter = triangle(image.height, height);
  const sums = new Int32Array(3 * width);
  for (let y = 0; y < height; y++) {
    sums.fill(1 << (BITS - 1));
    for (let tap = 0; tap < filter.count[y]; tap++) {
      const weight = filter.weights[y * filter.stride + tap];
      const from = (filter.first[y] + tap) * 3 * width;
      for (let at = 0; at < 3 * width; at++) sums[at] += weight * rows[from + at];
    }
    for (let x = 0; x < width; x++)
      for (let channel = 0; channel < 3; channel++)
        result[(channel * height + y) * width + x] = sums[3 * x + channel] >> BITS;
  }
  return result;
}

function alongRows(image: Pixels, width: number): Uint8Array {
  const filter = triangle(image.width, width);
  const result = new Uint8Array(3 * image.height * width);
  const half = 1 << (BITS - 1);
  for (let y = 0, to = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      let red = half, green = half, blue = half;
      let at = 4 * (y * image.width + filter.first[x]);
      for (let tap = 0; tap < filter.count[x]; tap++, at += 4) {
        const weight = filter.weights[x * filter.stride + tap];
        red += weight * image.data[at];
        green += weight * image.data[at + 1];
        blue += weight * image.data[at + 2];
      }
      result[to++] = red >> BITS;
      result[to++] = green >> BITS;
      result[to++] = blue >> BITS;
    }
  }
  return result;
}

/** For each pixel of the result: the first pixel of the source that counts, how many do, and `stride` weights. */
function triangle(source: number, target: number) {
  const scale = source / target;
  const support = Math.max(1, scale);
  const stride = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(target), count = new Int32Array(target), weights = new Int32Array(target * stride);
  const exact = new Float64Array(stride);
  for (let at = 0; at < target; at++) {
    const center = (at + 0.5) * scale;
    first[at] = Math.max(0, Math.trunc(center - support + 0.5));
    count[at] = Math.min(source, Math.trunc(center + support + 0.5)) - first[at];
    let total = 0;
    for (let tap = 0; tap < count[at]; tap++) {
      // multiplied by the inverse, not divided: the last bit must be Pillow's
      exact[tap] = Math.max(0, 1 - Math.abs((first[at] + tap - center + 0.5) * (1 / support)));
      total += exact[tap];
    }
    for (let tap = 0; tap < count[at]; tap++)
      weights[at * stride + tap] = Math.trunc(0.5 + (exact[tap] / total) * (1 << BITS));
  }
  return { first, count, weights, stride };
}

export function halfToEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}
