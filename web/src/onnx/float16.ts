/** Numbers of 16 bits, which not every browser knows. */

/** The values of IEEE 754's half precision. */
export function float16(bits: Uint16Array): Float32Array {
  return Float32Array.from(bits, (half) => {
    const exponent = (half >> 10) & 31,
      fraction = half & 1023;
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
}
