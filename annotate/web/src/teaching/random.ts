/** Random numbers as NumPy's `default_rng` draws them, so that the page learns from the same cells as Python. */

const MASK_128 = (1n << 128n) - 1n;

/** Constants of NumPy's SeedSequence, which spreads a seed over the state. */
const SPREAD = { initA: 0x43b0d7e5, multA: 0x931e8875, initB: 0x8b51f9dd, multB: 0x58f38ded, left: 0xca01f9dd, right: 0x4973f715 };
const POOL = 4;

/** The multiplier of PCG64, in 16 bits each, the lowest first. */
const MULTIPLIER = Array.from({ length: 8 }, (_, at) => Number((0x2360ed051fc65da44385df649fccf645n >> BigInt(16 * at)) & 0xffffn));

/** PCG64 (O'Neill, 2014: XSL-RR on a linear congruential generator of 128 bits) with NumPy's ways to use its bits. */
export class Random {
  /** The state and its increment, in 16 bits each, the lowest first. */
  private readonly state: Uint32Array;
  private readonly increment: Uint32Array;
  private readonly product = new Float64Array(8);
  /** The upper half of a number whose lower half was used; null: none is left. */
  private kept: number | null = null;
  private high = 0;
  private low = 0;

  /** @param seed in [0, 2^32). */
  constructor(seed: number) {
    const words = spread(seed, 8);
    const wide = (at: number) =>
      (BigInt(words[at]) << 64n) | (BigInt(words[at + 1]) << 96n) | BigInt(words[at + 2]) | (BigInt(words[at + 3]) << 32n);
    const increment = ((wide(4) << 1n) | 1n) & MASK_128;
    this.increment = limbs(increment);
    this.state = limbs((increment + wide(0)) & MASK_128);
    this.step();
  }

  /** A number in [0, 1). */
  double(): number {
    this.next();
    return (this.high * 2 ** 21 + (this.low >>> 11)) / 2 ** 53;
  }

  /** An integer in [0, bound), with a bound from 1 to 2^32 - 1 (Lemire, 2019). */
  below(bound: number): number {
    if (bound === 1) return 0;
    let [whole, rest] = multiplied(this.half(), bound);
    if (rest < bound) {
      const threshold = (2 ** 32 - bound) % bound;
      while (rest < threshold) [whole, rest] = multiplied(this.half(), bound);
    }
    return whole;
  }

  /** The values in a random order (Fisher and Yates). */
  permutation(values: ArrayLike<number>): number[] {
    const drawn = Array.from(values);
    for (let at = drawn.length - 1; at > 0; at--) {
      const other = this.upTo(at);
      [drawn[at], drawn[other]] = [drawn[other], drawn[at]];
    }
    return drawn;
  }

  /** An integer from 0 to a largest one, drawn again while it is above. */
  private upTo(most: number): number {
    const mask = 2 ** (32 - Math.clz32(most)) - 1;
    let drawn: number;
    do drawn = (this.half() & mask) >>> 0;
    while (drawn > most);
    return drawn;
  }

  /** So many different places, in proportion to their chances; each chance is above 0. */
  choice(chances: Float64Array, count: number): number[] {
    const found: number[] = [];
    const left = chances.slice();
    while (found.length < count) {
      const drawn = Array.from({ length: count - found.length }, () => this.double());
      for (const at of found) left[at] = 0;
      const sums = cumulative(left);
      found.push(...new Set(drawn.map((value) => firstAbove(sums, value))));
    }
    return found;
  }

  /** 32 bits. */
  private half(): number {
    if (this.kept !== null) {
      const { kept } = this;
      this.kept = null;
      return kept;
    }
    this.next();
    this.kept = this.high;
    return this.low;
  }

  /** The next 64 bits, as two numbers. */
  private next(): void {
    this.step();
    const { state } = this;
    const pair = (at: number) => ((state[at + 1] << 16) | state[at]) >>> 0;
    const high = (pair(6) ^ pair(2)) >>> 0, low = (pair(4) ^ pair(0)) >>> 0;
    const turn = state[7] >>> 10, by = turn & 31;
    const [first, second] = turn & 32 ? [low, high] : [high, low];
    this.high = by ? ((first >>> by) | (second << (32 - by))) >>> 0 : first;
    this.low = by ? ((second >>> by) | (first << (32 - by))) >>> 0 : second;
  }

  /** state = state * multiplier + increment, modulo 2^128. */
  private step(): void {
    const { state, increment, product } = this;
    for (let at = 0; at < 8; at++) {
      let sum = increment[at];
      for (let own = 0; own <= at; own++) sum += state[own] * MULTIPLIER[at - own];
      product[at] = sum;
    }
    let carry = 0;
    for (let at = 0; at < 8; at++) {
      const sum = product[at] + carry;
      carry = Math.floor(sum / 65536);
      state[at] = sum - 65536 * carry;
    }
  }
}

/** A seed as so many words of 32 bits. */
function spread(seed: number, count: number): Uint32Array {
  let constant = SPREAD.initA;
  const hashed = (value: number) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, SPREAD.multA);
    const product = Math.imul(mixed, constant);
    return product ^ (product >>> 16);
  };
  const pool = Int32Array.from({ length: POOL }, (_, at) => hashed(at ? 0 : seed | 0));
  for (let from = 0; from < POOL; from++) {
    for (let to = 0; to < POOL; to++) {
      if (from === to) continue;
      const mixed = (Math.imul(SPREAD.left, pool[to]) - Math.imul(SPREAD.right, hashed(pool[from]))) | 0;
      pool[to] = mixed ^ (mixed >>> 16);
    }
  }
  constant = SPREAD.initB;
  return Uint32Array.from({ length: count }, (_, at) => {
    const mixed = pool[at % POOL] ^ constant;
    constant = Math.imul(constant, SPREAD.multB);
    const product = Math.imul(mixed, constant);
    return product ^ (product >>> 16);
  });
}

function limbs(value: bigint): Uint32Array {
  return Uint32Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(16 * at)) & 0xffffn));
}

/** The upper and lower 32 bits of a product. */
function multiplied(one: number, other: number): [number, number] {
  const upper = other >>> 16, lower = other & 65535;
  const low = one * lower, high = one * upper;
  const middle = high + Math.floor(low / 65536);
  const rest = (middle % 65536) * 65536 + (low % 65536);
  return [Math.floor(middle / 65536), rest];
}

/** The sums of all values up to each, divided by the last. */
function cumulative(values: Float64Array): Float64Array {
  let sum = 0;
  const sums = values.map((value) => (sum += value));
  return sums.map((value) => value / sum);
}

/** The first place with a larger value. */
function firstAbove(sorted: Float64Array, value: number): number {
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}
