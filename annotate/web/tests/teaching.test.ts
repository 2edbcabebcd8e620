import assert from "node:assert/strict";
import { test } from "node:test";

import { PageError } from "../src/backend";
import { readTaughtWords } from "../src/onnx/taught_words";
import { readNames, type FeatureMap } from "../src/onnx/feature_maps";
import { checkModel, probeImage, softmaxLogits, TaughtQuery, withheld } from "../src/onnx/teaching";
import { bytes, expected } from "./expected";

const { file, maps: given, cases } = expected.taught;
const taught = readTaughtWords("a.words.safetensors", bytes(file));
const maps = mapsOf(given);
const regions = readTaughtWords("b.words.safetensors", bytes(expected.mixed.file));
const tuned = readTaughtWords("c.words.safetensors", bytes(expected.tuned.file));
const tunedMaps = mapsOf(expected.tuned.maps);

function mapsOf(given: Record<string, { shape: number[]; values: string }>): FeatureMap[] {
  return readNames(Object.keys(given)).map((name) => {
    const { shape, values } = given[name];
    return { name, values: floats(values), channels: shape[0], rows: shape[1], columns: shape[2] };
  });
}

function assertNear(found: Float32Array, values: Float32Array, tolerance: number): void {
  assert.equal(found.length, values.length);
  const furthest = found.reduce((most, value, at) => Math.max(most, Math.abs(value - values[at])), 0);
  assert.ok(furthest <= tolerance, `${furthest}`);
}

function floats(text: string): Float32Array {
  return new Float32Array(bytes(text).buffer);
}

/** The file with another header, which a function changes. */
function changed(change: (header: Record<string, any>) => void, content = bytes(file)): Uint8Array {
  const length = Number(new DataView(content.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(content.subarray(8, 8 + length)));
  change(header);
  const text = new TextEncoder().encode(JSON.stringify(header));
  const result = new Uint8Array(8 + text.length + content.length - 8 - length);
  new DataView(result.buffer).setBigUint64(0, BigInt(text.length), true);
  result.set(text, 8);
  result.set(content.subarray(8 + length), 8 + text.length);
  return result;
}

function recorded(change: object, content = bytes(file)): Uint8Array {
  return changed((header) => {
    const record = JSON.parse(header["__metadata__"]["segvoc_taught"]);
    header["__metadata__"]["segvoc_taught"] = JSON.stringify({ ...record, ...change });
  }, content);
}

test("taps are read in the order of their numbers", () => {
  const names = ["tap_10", "appearance", "tap_2", "class_logits", "tap_0", "tap_1"];
  assert.deepEqual(readNames(names), ["appearance", "class_logits", "tap_0", "tap_1", "tap_2", "tap_10"]);
});

test("a file of Python's is read", () => {
  assert.deepEqual([taught.model, taught.words, taught.shown], ["theirs", ["grass", "sky"], ["grass", "brick", "sky"]]);
  assert.deepEqual(taught.channels, { appearance: 2, class_logits: 3, tap_0: 2 });
  assert.deepEqual([taught.weights.length, taught.bias.length, taught.scale.length], [14, 2, 7]);
});

for (const { words, kept, logits, added } of cases) {
  test(`what examples add to ${words}, of which ${kept ?? "all"} are kept, is what Python adds`, () => {
    const before = floats(logits);
    const found = TaughtQuery.of([taught], words)!.added(before, [8, 16], kept ?? [...words.keys()], maps);
    assert.deepEqual(Array.from(found), Array.from(floats(added)));
    assert.deepEqual(Array.from(before), Array.from(floats(logits)));
  });
}

test("the confidence is that of Python's softmax, at the file's temperature", () => {
  const { temperature, logits, result } = expected.taught.softmax;
  assert.equal(taught.temperature, temperature);
  assert.equal(TaughtQuery.of([{ ...taught, temperature: 0.5 }, taught], ["sky"])!.temperature, temperature);
  assertNear(softmaxLogits(floats(logits), 3, temperature), floats(result), 1e-3);
  assert.deepEqual(softmaxLogits(Float32Array.of(2, -1), 1, temperature), Float32Array.of(2, -1));
});

test("of a word that was taught twice, the last counts; without a taught word there is nothing to add", () => {
  const [{ words, logits }] = cases;
  const other = { ...taught, bias: taught.bias.map((value) => value + 1) };
  const add = (all: (typeof taught)[]) => TaughtQuery.of(all, words)!.added(floats(logits), [8, 16], [0, 1, 2], maps);
  assert.deepEqual(add([other, taught]), add([taught]));
  assert.notDeepEqual(add([taught, other]), add([taught]));
  assert.equal(TaughtQuery.of([taught], ["cup", "brick"]), null);
});

test("regions are mixed into the embeddings of their words as Python does", () => {
  const { words, shape, text, mixed: result } = expected.mixed;
  const [count, prompts, channels] = shape;
  const before = { values: floats(text), words: count, prompts, channels };
  assertNear(TaughtQuery.of([regions], words)!.embeddings(before).values, floats(result), 1e-6);
  assert.deepEqual(before.values, floats(text));
  // of a word that was taught twice, the last file counts, also where it has no regions
  assert.deepEqual(TaughtQuery.of([regions, taught], words)!.embeddings(before), before);
  const mixed = (length: number) => {
    const toward = new Float32Array(regions.words.length * length);
    return TaughtQuery.of([{ ...regions, toward }], words)!.embeddings(before);
  };
  assertNear(mixed(channels).values, before.values, 1e-6);
  assert.throws(() => mixed(channels + 1), /embeddings of another length/);
});

test("fine-tuned words add their scores, beside those of other files", () => {
  const { words, scores } = expected.tuned;
  const [, rows, columns] = scores.shape;
  const cells = rows * columns, all = floats(scores.values);
  const lamp = all.subarray(0, cells), door = all.subarray(cells);
  const plain = { ...taught, channels: tuned.channels, weights: new Float32Array(16), bias: Float32Array.of(2, 3) };
  const files = [{ ...plain, mean: tuned.mean, scale: tuned.scale }, tuned];
  const asked = ["door", "sky", "lamp"];
  const add = (kept: number[], names = asked) =>
    TaughtQuery.of(files, names)!.added(new Float32Array(kept.length * cells), [rows, columns], kept, tunedMaps);
  const found = add([0, 1, 2]);
  assertNear(found.subarray(0, cells), door, 1e-4);
  assertNear(found.subarray(cells, 2 * cells), new Float32Array(cells).fill(3), 0);
  assertNear(found.subarray(2 * cells), lamp, 1e-4);
  assert.deepEqual(add([1, 2]), found.subarray(cells));
  const highest = lamp.map((value, at) => Math.max(value, door[at]));
  const beside = add([0, 1, 2], words);
  assertNear(beside.subarray(0, cells), new Float32Array(cells), 0);
  assertNear(beside.subarray(cells, 2 * cells), door.map((value, at) => value - withheld(0, highest[at])), 1e-4);
});

test("the drawn image is Python's", () => {
  const { width, data } = probeImage();
  for (const [at, value] of bytes(expected.probe).entries()) {
    const [pixel, channel] = [Math.floor(at / 3), at % 3];
    const [row, column] = [16 * Math.floor(pixel / 16), 16 * (pixel % 16)];
    assert.ok(Math.abs(data[4 * (row * width + column) + channel] - value) <= 1);
  }
});

test("a model is recognized by its features of it", () => {
  checkModel(taught, "ours", maps);
  const louder = maps.map((map) => ({ ...map, values: map.values.map((value) => 1.1 * value) }));
  const fewer = maps.map((map) => ({ ...map, channels: map.channels / 2 }));
  for (const others of [louder, fewer, maps.slice(1)])
    assert.throws(() => checkModel(taught, "ours", others), /were taught to “theirs”, and the “ours” of this page/);
});

for (const [what, damaged, message] of [
  ["nothing", new Uint8Array(0), /is no file of taught words/],
  ["other safetensors", changed((header) => delete header["__metadata__"]), /is no file of taught words/],
  ["a newer file", recorded({ format: 2 }), /another version of segvoc/],
  ["a file that is cut off", bytes(file).subarray(0, -4), /cut off or damaged/],
  ["too few words", recorded({ words: [] }), /cut off or damaged/],
  ["an unknown entry of the record", recorded({ depth: 0 }), /holds “depth”, which this page can't apply/],
  ["an unknown array", changed((header) => (header["gain"] = header["bias"])), /holds “gain”, which/],
  ["regions without a share", recorded({ share: 0 }, bytes(expected.mixed.file)), /holds “toward”, which/],
  ["another number of channels", recorded({ pyramid_channels: 8 }, bytes(expected.tuned.file)), /cut off or damaged/],
  ["an unknown type", changed((header) => (header["bias"].dtype = "F64")), /cut off or damaged/],
] as const) {
  test(`${what} is refused in one sentence`, () => {
    const isPlain = (error: unknown) => error instanceof PageError && message.test(error.message);
    assert.throws(() => readTaughtWords("a", damaged), isPlain);
  });
}
