/** Numbers of 16 bits (IEEE 754's half precision), which not every browser knows. */

/** The value of each of all 65,536 numbers. */
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
