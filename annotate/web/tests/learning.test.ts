import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { PageError } from "../src/backend";
import { float16, halves } from "../src/onnx/float16";
import { readTaughtWords } from "../src/onnx/taught_words";
import { labelsOfCells, type Cells } from "../src/teaching/cells";
import { largestEigenvectors } from "../src/teaching/eigenvectors";
import { heldOutParts, learn, type Examples } from "../src/teaching/learning";
import { pauses } from "../src/teaching/pause";
import { Random } from "../src/teaching/random";
import { writtenTaughtFile } from "../src/teaching/taught_file";
import { stateOf } from "../src/service/improvement";
import { bytes } from "./expected";

/** What Python draws and learns: `annotate/tools/make_learned_data.py` writes it. */
const expected = JSON.parse(readFileSync("tests/learned.json", "utf8"));
const pause = pauses(new AbortController().signal);

function given(): Examples {
  const { words, channels, features, by_text, mixed, labels, images, weights, pixels, shown } = expected.cells;
  const halfFloats = (text: string) => float16(new Uint16Array(bytes(text).buffer));
  const own = new Int32Array(bytes(labels).buffer);
  const cells: Cells = {
    count: own.length,
    features: new Uint16Array(bytes(features).buffer),
    channels,
    words: words.length,
    byText: halfFloats(by_text),
    mixed: [halfFloats(mixed)],
    labels: own,
    images: new Int32Array(bytes(images).buffer),
    weights: new Float32Array(bytes(weights).buffer),
  };
  const counted = { pixels: Float64Array.from(pixels), images: Float64Array.from(shown) };
  return { cells, words, ...counted, parts: heldOutParts(cells.images) };
}

function assertNear(found: ArrayLike<number>, values: readonly number[], relative: number): void {
  const largest = Math.max(...values.map(Math.abs));
  assert.equal(found.length, values.length);
  for (const [at, value] of values.entries()) assert.ok(Math.abs(found[at] - value) <= relative * largest, `${at}: ${found[at]}, ${value}`);
}

test("numbers are drawn as NumPy draws them", () => {
  const { doubles, below, more, permutation, choice } = expected.random;
  const random = new Random(0);
  const several = <Value>(count: number, draw: () => Value) => Array.from({ length: count }, draw);
  assert.deepEqual(several(3, () => random.double()), doubles);
  assert.deepEqual(several(5, () => random.below(1000)), below);
  assert.deepEqual(several(2, () => random.double()), more);
  assert.deepEqual(random.permutation(several(20, () => 0).map((_, at) => at)), permutation);
  assert.deepEqual(random.choice(Float64Array.of(0.05, 0.3, 0.1, 0.25, 0.2, 0.1), 4), choice);
});

test("numbers of 16 bits are rounded to the nearest, and halves to the even one", () => {
  const all = Uint16Array.from({ length: 1 << 16 }, (_, at) => at).filter((half) => (half & 0x7fff) <= 0x7c00);
  assert.deepEqual(halves(float16(all)), all);
  const between = Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 2 ** -25, 3 * 2 ** -25, 65519, 65520, -1e9);
  assert.deepEqual([...halves(between)], [0x3c00, 0x3c02, 0, 2, 0x7bff, 0x7c00, 0xfc00]);
  assert.ok(Number.isNaN(float16(halves(Float32Array.of(NaN)))[0]));
});

test("the label of a cell is that of the first labeled pixel in it", () => {
  const labels = new Uint16Array(bytes(expected.grid.labels).buffer);
  assert.deepEqual([...labelsOfCells({ width: 7, height: 5, labels }, 3, 4)], expected.grid.found);
});

test("eigenvectors are found, also of equal and of vanishing eigenvalues", async () => {
  const side = 24, random = new Random(3);
  const rows = Array.from({ length: 9 }, () => Float64Array.from({ length: side }, () => random.double() - 0.5));
  const squares = new Float64Array(side * side);
  for (const row of rows) row.forEach((one, i) => row.forEach((other, j) => (squares[i * side + j] += one * other)));
  // three times the same value
  for (const at of [0, 1, 2]) for (let j = 0; j < side; j++) squares[at * side + j] = squares[j * side + at] = Number(at === j);
  const { values, vectors } = await largestEigenvectors(squares.slice(), side, 16, pause);
  const vector = (at: number) => vectors.subarray(at * side, (at + 1) * side);
  const dot = (one: Float64Array, other: Float64Array) => one.reduce((sum, value, at) => sum + value * other[at], 0);
  for (const [at, value] of values.entries()) {
    const product = vector(at).map((_, i) => dot(squares.subarray(i * side, (i + 1) * side), vector(at)));
    product.forEach((one, i) => assert.ok(Math.abs(one - value * vector(at)[i]) < 1e-10));
    for (let other = 0; other <= at; other++)
      if (value > 1e-10) assert.ok(Math.abs(dot(vector(at), vector(other)) - Number(at === other)) < 1e-9);
  }
  assert.equal(values.filter((value) => value > 1e-10).length, 12);
  assert.ok(values.every((value, at) => !at || value > values[at - 1] - 1e-12));
});

test("what is learned is what Python learns, and its file says so", async () => {
  let fits = 0;
  const { words, classifiers, components, penalty, share, before, after } = await learn(given(), pause, () => fits++);
  const { learned } = expected;
  assert.ok(fits > 4);
  assert.deepEqual([[penalty.weights, penalty.bias], share, classifiers.words], [learned.penalty, learned.share, learned.taught]);
  assert.deepEqual(words.map((word) => [word.before, word.after, word.keepsText]), learned.words);
  assertNear([before.miou, after.miou], learned.miou, 1e-5);
  assertNear([before.accuracy, after.accuracy], learned.accuracy, 1e-5);
  assertNear(components.mean, learned.mean, 1e-5);
  assertNear(components.scale, learned.scale, 1e-5);
  const { size, weights } = classifiers, channels = components.mean.length;
  const onFeatures = Float32Array.from({ length: classifiers.words.length * channels }, (_, at) => {
    const word = Math.floor(at / channels);
    let sum = 0;
    for (let own = 0; own < components.count; own++)
      sum += weights[word * size + own] * components.basis[own * channels + (at % channels)];
    return sum;
  });
  const bias = Float32Array.from(classifiers.words, (_, word) => weights[(word + 1) * size - 1]);
  assertNear(onFeatures, learned.weights, 1e-3);
  assertNear(bias, learned.bias, 1e-3);

  const record = { model: "ours", words, channels: { appearance: 4, tap_0: 6 }, images: 6, before, after, share: 0.25 };
  const arrays = { weights: onFeatures, bias, mean: components.mean, scale: components.scale, probe: components.mean };
  const toward = Float32Array.from({ length: 3 * bias.length }, (_, at) => at / 4);
  const content = writtenTaughtFile({ ...record, penalty: [1, 2] }, { ...arrays, toward });
  const read = readTaughtWords("a.words.safetensors", content);
  assert.deepEqual(read.words, words.filter(({ keepsText }) => !keepsText).map(({ name }) => name));
  assert.deepEqual(read.shown, words.map(({ name }) => name));
  assert.deepEqual([read.weights, read.bias, read.toward], [float16(halves(onFeatures)), bias, toward]);
  assert.deepEqual([read.mean, read.scale, read.share], [components.mean, components.scale, 0.25]);
});

test("learning ends when it is canceled, and says what is missing", async () => {
  const ending = new AbortController();
  await assert.rejects(learn(given(), pauses(ending.signal), () => ending.abort()), { name: "AbortError" });
  const { cells, ...rest } = given();
  const one = { ...cells, labels: cells.labels.map(() => 1) }, single = { ...cells, images: cells.images.map(() => 0) };
  const says = (message: RegExp) => (error: unknown) => error instanceof PageError && message.test(error.message);
  await assert.rejects(learn({ ...rest, cells: one }, pause, () => {}), says(/Only “brick” has labels/));
  await assert.rejects(learn({ ...rest, cells: single }, pause, () => {}), says(/Only one image has labels/));
});

test("what a service says of its learning is shown alike", () => {
  const none = { stage: null, share: null, images: 0, scores: null, message: null, can_finetune: false };
  assert.deepEqual(stateOf({ ...none, state: "none" }), { kind: "none" });
  assert.deepEqual(stateOf({ ...none, state: "running", share: 0.5 }), { kind: "running", stage: "", share: 0.5 });
  assert.deepEqual(stateOf({ ...none, state: "failed", message: "a" }), { kind: "failed", message: "a" });
  const means = (value: number) => ({ miou: value, accuracy: value, words: { cat: value, dog: null } });
  const scores = { before: means(1), after: means(2), keep_text: ["dog"] };
  const state = stateOf({ ...none, state: "done", images: 3, scores });
  const gains = state.kind === "done" && state.gains;
  assert.deepEqual(gains && gains.words, [
    { name: "cat", before: 1, after: 2, keepsText: false },
    { name: "dog", before: null, after: null, keepsText: true },
  ]);
});
