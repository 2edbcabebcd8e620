import assert from "node:assert/strict";
import { test } from "node:test";

import { PageError } from "../src/backend";
import { float16 } from "../src/onnx/float16";
import { readTaughtWords } from "../src/onnx/taught_words";
import { checkModel, probeImage, readNames, TaughtQuery, withheld, type FeatureMap } from "../src/onnx/teaching";
import { bytes, expected } from "./expected";

const { file, maps: given, cases } = expected.taught;
const content = bytes(file);
const taught = readTaughtWords("a.words.safetensors", content);
const maps: FeatureMap[] = readNames(Object.keys(given)).map((name) => {
  const { shape, values } = given[name];
  return { name, values: floats(values), channels: shape[0], rows: shape[1], columns: shape[2] };
});

function floats(text: string): Float32Array {
  return new Float32Array(bytes(text).buffer);
}

/** The file with another header, which a function changes. */
function changed(change: (header: Record<string, any>) => void): Uint8Array {
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

function recorded(change: object): Uint8Array {
  return changed((header) => {
    const record = JSON.parse(header["__metadata__"]["segvoc_taught"]);
    header["__metadata__"]["segvoc_taught"] = JSON.stringify({ ...record, ...change });
  });
}

test("numbers of 16 bits", () => {
  const bits = Uint16Array.of(0, 0x3c00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x3555, 0x7c00);
  assert.deepEqual(Array.from(float16(bits)), [0, 1, -2, 2 ** -24, 65504, -0, 0.333251953125, Infinity]);
  assert.ok(Number.isNaN(float16(Uint16Array.of(0x7e00))[0]));
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

test("of a word that was taught twice, the last counts; without a taught word there is nothing to add", () => {
  const [{ words, logits }] = cases;
  const other = { ...taught, bias: taught.bias.map((value) => value + 1) };
  const add = (all: (typeof taught)[]) => TaughtQuery.of(all, words)!.added(floats(logits), [8, 16], [0, 1, 2], maps);
  assert.deepEqual(add([other, taught]), add([taught]));
  assert.notDeepEqual(add([taught, other]), add([taught]));
  assert.equal(TaughtQuery.of([taught], ["cup", "brick"]), null);
});

test("taught words rise beside untaught ones only beyond a margin", () => {
  assert.deepEqual([withheld(1, 0.5), withheld(1, 2), withheld(1, 9)], [0, 1, 2]);
});

test("maps are read in one order; a network without any can't be taught", () => {
  assert.deepEqual(readNames(["tap_1", "tap_0", "map_0", "class_logits"]), ["map_0", "class_logits", "tap_0", "tap_1"]);
  assert.throws(() => readNames(["cls_0"]), PageError);
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
  ["no safetensors", new TextEncoder().encode("photographs"), /is no file of taught words/],
  ["other safetensors", changed((header) => delete header["__metadata__"]), /is no file of taught words/],
  ["an entry that is none", changed((header) => (header["bias"] = null)), /is no file of taught words/],
  ["a record without words", recorded({ words: null }), /is no file of taught words/],
  ["a record with odd channels", recorded({ channels: { appearance: -1 } }), /is no file of taught words/],
  ["a newer file", recorded({ format: 2 }), /another version of segvoc/],
  ["a file that is cut off", content.subarray(0, content.length - 4), /cut off or damaged/],
  ["too few words", recorded({ words: [] }), /cut off or damaged/],
  ["an unknown type", changed((header) => (header["bias"].dtype = "F64")), /cut off or damaged/],
  ["no place", changed((header) => (header["bias"].data_offsets = null)), /cut off or damaged/],
] as const) {
  test(`${what} is refused in one sentence`, () => {
    const isPlain = (error: unknown) => error instanceof PageError && message.test(error.message);
    assert.throws(() => readTaughtWords("a", damaged), isPlain);
  });
}
