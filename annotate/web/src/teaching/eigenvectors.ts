/** The largest eigenvalues of a symmetric matrix and their eigenvectors, as in LAPACK's `dsyevx`. */

import type { Pause } from "./pause";

/** Steps of bisection: the width of the interval shrinks by 2^-60. */
const BISECTIONS = 60;

/** Solutions of inverse iteration, of which the second is nearly always exact. */
const ITERATIONS = 3;

/** Eigenvectors are made orthogonal where eigenvalues are nearer than this, relative to the largest. */
const CLUSTER = 1e-3;

/** Eigenvalues below this share of the largest count as 0. */
const NOTHING = 1e-13;

export interface Eigenvectors {
  /** Ascending. */
  readonly values: Float64Array;
  /** (count, side), in rows of unit length; 0 where the eigenvalue is 0. */
  readonly vectors: Float64Array;
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** Beside the diagonal: one less. */
  readonly beside: Float64Array;
}

/**
 * The largest eigenvalues of a positive semidefinite matrix, with their eigenvectors.
 *
 * @param matrix (side, side), of which the lower triangle is read, and overwritten.
 * @param count how many.
 */
export async function largestEigenvectors(
  matrix: Float64Array,
  side: number,
  count: number,
  pause: Pause,
): Promise<Eigenvectors> {
  const reflections = new Float64Array(side * side);
  const tridiagonal = await reduced(matrix, side, reflections, pause);
  const values = largest(tridiagonal, count);
  const vectors = new Float64Array(count * side);
  const top = Math.max(values[count - 1], 1e-300);
  for (let at = count - 1; at >= 0; at--) {
    await pause();
    if (values[at] <= NOTHING * top) continue;
    const vector = vectors.subarray(at * side, (at + 1) * side);
    let near = at + 1;
    while (near < count && values[near] - values[at] < CLUSTER * top) near++;
    iterated(tridiagonal, values[at], vector, vectors.subarray((at + 1) * side, near * side));
  }
  for (let at = 0; at < count; at++) {
    await pause();
    reflected(reflections, side, vectors.subarray(at * side, (at + 1) * side));
  }
  return { values, vectors };
}

/**
 * Householder's reduction to a tridiagonal matrix.
 *
 * Each step takes a column to a multiple of a unit vector by the reflection I - 2 v v', which changes the rest by
 * A - v w' - w v'. The change is made while the next product with A is formed, since memory is what takes time.
 */
async function reduced(a: Float64Array, side: number, reflections: Float64Array, pause: Pause): Promise<Tridiagonal> {
  const diagonal = new Float64Array(side), beside = new Float64Array(Math.max(0, side - 1));
  let v: Float64Array = new Float64Array(side), w: Float64Array = new Float64Array(side);
  for (let k = 0; k < side; k++) {
    await pause();
    // the column below the diagonal, with the change of the step before
    for (let i = k; i < side; i++) a[i * side + k] -= v[i] * w[k] + w[i] * v[k];
    diagonal[k] = a[k * side + k];
    if (k === side - 1) break;
    const next = reflections.subarray(k * side, (k + 1) * side);
    let length = 0;
    for (let i = k + 1; i < side; i++) length = Math.hypot(length, (next[i] = a[i * side + k]));
    const signed = next[k + 1] > 0 ? -length : length;
    beside[k] = signed;
    next[k + 1] -= signed;
    let square = 0;
    for (let i = k + 1; i < side; i++) square += next[i] * next[i];
    const unit = square > 0 ? Math.SQRT2 / Math.sqrt(square) : 0;
    for (let i = k + 1; i < side; i++) next[i] *= unit;
    // now the reflection is I - next next', with |next|^2 = 2
    const product = changed(a, side, k + 1, v, w, next);
    let along = 0;
    for (let i = k + 1; i < side; i++) along += product[i] * next[i];
    for (let i = k + 1; i < side; i++) product[i] -= (along / 2) * next[i];
    v = next.slice();
    w = product;
  }
  return { diagonal, beside };
}

/** Take v w' + w v' off the lower triangle from a row on, and multiply what is left with a vector. */
function changed(
  a: Float64Array,
  side: number,
  from: number,
  v: Float64Array,
  w: Float64Array,
  by: Float64Array,
): Float64Array {
  const product = new Float64Array(side);
  for (let i = from; i < side; i++) {
    const row = i * side, vi = v[i], wi = w[i], byi = by[i];
    let sum = 0;
    for (let j = from; j < i; j++) {
      const value = a[row + j] - vi * w[j] - wi * v[j];
      a[row + j] = value;
      sum += value * by[j];
      product[j] += value * byi;
    }
    const own = (a[row + i] -= 2 * vi * wi);
    product[i] += sum + own * byi;
  }
  return product;
}

/** A vector of the tridiagonal matrix as one of the matrix that it came from. */
function reflected(reflections: Float64Array, side: number, vector: Float64Array): void {
  for (let k = side - 2; k >= 0; k--) {
    const row = k * side;
    let along = 0;
    for (let i = k + 1; i < side; i++) along += reflections[row + i] * vector[i];
    for (let i = k + 1; i < side; i++) vector[i] -= along * reflections[row + i];
  }
}

/** The largest eigenvalues, ascending, by bisection. */
function largest({ diagonal, beside }: Tridiagonal, count: number): Float64Array {
  const side = diagonal.length;
  const radius = (at: number) => Math.abs(beside[at - 1] ?? 0) + Math.abs(beside[at] ?? 0);
  const top = diagonal.reduce((most, value, at) => Math.max(most, value + radius(at)), -Infinity);
  const bottom = diagonal.reduce((least, value, at) => Math.min(least, value - radius(at)), Infinity);
  const tiny = Number.EPSILON * Math.max(Math.abs(top), Math.abs(bottom), 1e-300);
  /** How many eigenvalues are below a number (Sturm). */
  const below = (value: number) => {
    let found = 0, pivot = 1;
    for (let at = 0; at < side; at++) {
      const before = at ? beside[at - 1] : 0;
      pivot = diagonal[at] - value - (before * before) / pivot;
      if (Math.abs(pivot) < tiny * Number.EPSILON) pivot = -tiny * Number.EPSILON;
      if (pivot < 0) found++;
    }
    return found;
  };
  let upper = top + tiny;
  const values = new Float64Array(count);
  for (let place = count - 1; place >= 0; place--) {
    const smaller = side - count + place;
    let low = bottom - tiny, high = upper;
    for (let step = 0; step < BISECTIONS && high - low > tiny; step++) {
      const middle = (low + high) / 2;
      if (below(middle) <= smaller) low = middle;
      else high = middle;
    }
    values[place] = (low + high) / 2;
    upper = high;
  }
  return values;
}

/** Inverse iteration: an eigenvector of unit length, orthogonal to those of near eigenvalues. */
function iterated(matrix: Tridiagonal, value: number, vector: Float64Array, near: Float64Array): void {
  const side = vector.length;
  const solve = solver(matrix, value);
  // what is drawn has a share of every eigenvector
  let seed = 1 + near.length / side;
  for (let at = 0; at < side; at++) vector[at] = (seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5;
  for (let step = 0; step < ITERATIONS; step++) {
    normalize(vector);
    solve(vector);
    for (let start = 0; start < near.length; start += side) {
      const other = near.subarray(start, start + side);
      const along = dot(vector, other);
      for (let at = 0; at < side; at++) vector[at] -= along * other[at];
    }
  }
  normalize(vector);
}

/** Solves (T - value I) x = b in place, by elimination with row exchanges. */
function solver({ diagonal, beside }: Tridiagonal, value: number): (vector: Float64Array) => void {
  const side = diagonal.length;
  const pivots = new Float64Array(side), first = new Float64Array(side), second = new Float64Array(side);
  const factors = new Float64Array(side), exchanged = new Uint8Array(side);
  let size = 0;
  for (let at = 0; at < side; at++) size = Math.max(size, Math.abs(diagonal[at]), Math.abs(beside[at] ?? 0));
  const tiny = Number.EPSILON * Math.max(size, 1e-300);
  let own = diagonal[0] - value, right = beside[0] ?? 0;
  for (let at = 0; at < side - 1; at++) {
    const under = beside[at], next = diagonal[at + 1] - value, further = beside[at + 1] ?? 0;
    if (Math.abs(own) >= Math.abs(under)) {
      if (Math.abs(own) < tiny) own = tiny;
      const factor = under / own;
      [pivots[at], first[at], factors[at]] = [own, right, factor];
      [own, right] = [next - factor * right, further];
    } else {
      const factor = own / under;
      [pivots[at], first[at], second[at], factors[at], exchanged[at]] = [under, next, further, factor, 1];
      [own, right] = [right - factor * next, -factor * further];
    }
  }
  pivots[side - 1] = Math.abs(own) < tiny ? tiny : own;
  return (vector) => {
    for (let at = 0; at < side - 1; at++) {
      const [top, under] = exchanged[at] ? [vector[at + 1], vector[at]] : [vector[at], vector[at + 1]];
      vector[at] = top;
      vector[at + 1] = under - factors[at] * top;
    }
    for (let at = side - 1; at >= 0; at--) {
      const right = at + 1 < side ? first[at] * vector[at + 1] : 0;
      const further = at + 2 < side ? second[at] * vector[at + 2] : 0;
      vector[at] = (vector[at] - right - further) / pivots[at];
    }
  };
}

function dot(one: Float64Array, other: Float64Array): number {
  let sum = 0;
  for (let at = 0; at < one.length; at++) sum += one[at] * other[at];
  return sum;
}

function normalize(vector: Float64Array): void {
  const length = Math.sqrt(dot(vector, vector));
  for (let at = 0; at < vector.length; at++) vector[at] /= length;
}
