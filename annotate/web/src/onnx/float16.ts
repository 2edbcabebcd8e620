/** Numbers of 16 bits (IEEE 754's half precision), which not every browser knows. */

import { halfToEven } from "../imaging/rounding";

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The value of each of all 65,536 numbers. */
const VALUES = Float32Array.from({ length: 1 << 16 }, (_, half) => {
  const exponent = (half >> 10) & 31, fraction = half & 1023;
  const size =
    exponent === 31
      ? fraction
        ? NaN
        : Infinity
      : exponent
        ? 2 ** (exponent - 25) * (1024 + fraction)
        : 2 ** -24 * fraction;
  return half >> 15 ? -size : size;
});

/** Their values. */
export function float16(numbers: Uint16Array): Float32Array {
  const found = new Float32Array(numbers.length);
  for (let at = 0; at < numbers.length; at++) found[at] = VALUES[numbers[at]];
  return found;
}

/** The nearest numbers of 16 bits, of two the even one; from 65,520 on infinite. */
export function halves(values: Float32Array): Uint16Array {
  const found = new Uint16Array(values.length);
  for (let at = 0; at < values.length; at++) {
    float[0] = values[at];
    const sign = (bits[0] >>> 16) & 0x8000, rest = bits[0] & 0x7fffffff;
    if (rest > 0x7f800000) found[at] = sign | 0x7e00;
    else if (rest >= 0x477ff000) found[at] = sign | 0x7c00;
    else if (rest < 0x38800000) found[at] = sign | halfToEven(Math.abs(values[at]) * 2 ** 24);
    else found[at] = sign | ((rest - 0x38000000 + 0xfff + ((rest >>> 13) & 1)) >>> 13);
  }
  return found;
}
