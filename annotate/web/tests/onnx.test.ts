import assert from "node:assert/strict";
import { test } from "node:test";

import * as ort from "onnxruntime-web/wasm";

import { PageError } from "../src/backend";
import { Decision } from "../src/onnx/decision";
import { checkedDescription, inputSize, selectionInputs, wordsProgram, type Description } from "../src/onnx/description";
import { withoutIslands } from "../src/onnx/edges";
import { Lexicon } from "../src/onnx/lexicon";
import { Prompts } from "../src/onnx/prompts";
import { strongestClass } from "../src/onnx/strongest_class";
import { bytes, decisionPrograms, expected, tiny, tokenizer } from "./expected";

const prompts = { tokenizer: "tokenizer.json", max_tokens: 256, padding: 0, templates: ["{}"] };
const text = { program: "text.onnx", ...prompts, average: false, unit_length: true };
const shape = { size: 448, multiple: 32, squash: 2, max_aspect: 4, loader: null, pad_to: 1, sliding: null };
const protocol = { ...shape, pooling: [2, 2], selection: null, sigmoid_first: false };
const description: Description = {
  format: 1,
  name: "tiny",
  dtype: "float32",
  image: "image.onnx",
  words: [{ program: "other.onnx", pooling: [1, 1] }, { program: "words.onnx", pooling: [2, 2] }],
  text,
  has_parts: false,
  decision: tiny.decision,
  decision_programs: {},
  lexicon: tiny.lexicon,
  protocols: { auto: protocol },
  files: {},
};

for (const { maps, image, quarters, index, value } of expected.strongest) {
  test(`the strongest of ${maps} on ${image} pixels is Python's, ties included`, () => {
    const [classes, rows, columns] = maps;
    const values = Float32Array.from(new Int8Array(bytes(quarters).buffer), (quarter) => quarter / 4);
    const found = strongestClass({ values, classes, rows, columns }, image[0], image[1]);
    assert.deepEqual(Array.from(found.value), Array.from(new Float32Array(bytes(value).buffer)));
    assert.deepEqual(Array.from(found.index), Array.from(new Uint16Array(bytes(index).buffer)));
  });
}

test("words mean what they mean to Python", () => {
  const lexicon = new Lexicon(tiny.lexicon);
  const found = (expected.lexicon as [string][]).map(([word]) => [word, ...Object.values(lexicon.of(word))]);
  assert.deepEqual(found, expected.lexicon);
});

for (const { words, unasked, vectors, kept, maps, pixels, labels, confidence } of expected.decided)
  test(`pixels of a call with ${words} become what Python decides`, async () => {
    const decision = new Decision(tiny.decision, new Lexicon(tiny.lexicon), await decisionPrograms());
    const embedded = async (some: readonly string[]) => new ort.Tensor("float32", some.flatMap((word) => vectors[word]), [some.length, 1, 4]);
    const contest = await decision.contest(words, embedded);
    assert.deepEqual(contest.unasked, unasked);
    const values = Float32Array.from(new Int8Array(bytes(maps).buffer), (logit) => logit / 16);
    const image = new ort.Tensor("float32", Float32Array.from(bytes(pixels)), [1, 3, 12, 120]);
    const colored = await decision.colored(contest, image, { values, classes: kept.length, rows: 4, columns: 60 }, kept);
    const found = await decision.labels(contest, colored, kept, 4, 60);
    assert.deepEqual(found.labels, new Uint16Array(bytes(labels).buffer));
    for (const [row, all] of confidence.entries())
      for (const [at, one] of all.entries()) assert.ok(Math.abs(found.confidence[row * 60 + 20 * at] / 255 - one) < 0.003);
  });

test("islands take the word around them, as probable as before", () => {
  const rows = 40, columns = 50, cells = rows * columns;
  const values = new Float32Array(3 * cells);
  for (let cell = 0; cell < cells; cell++) values[(cell % columns < 25 ? 0 : 1) * cells + cell] = 2;
  const small = 10 * columns + 10, [other, large] = [30 * columns + 40, 20 * columns + 30];
  values[2 * cells + small] = values[2 * cells + other] = 4;
  for (const at of [large, large + 1, large + columns, large + columns + 1]) values[2 * cells + at] = 5;
  const found = withoutIslands({ values, classes: 3, rows, columns });
  const { index, value } = strongestClass(found, rows, columns);
  assert.deepEqual([index[small], index[other], index[large]], [0, 1, 2]);
  assert.deepEqual([value[small], value[other]], [4, 4]);
});

for (const { image, input } of expected.input_sizes) {
  test(`an image of ${image} pixels becomes ${input}`, () => {
    assert.deepEqual(inputSize(protocol, image[0], image[1]), input);
  });
}

for (const { text: prompt, ids } of expected.prompts) {
  test(`tokens of ${JSON.stringify(prompt.slice(0, 40))}`, () => {
    assert.deepEqual(new Prompts(tokenizer, text).ids(prompt), ids);
  });
}

test("batches have prompts of one padded length, each in its place", () => {
  const words = ["cat", "a very long name of a thing that is nowhere to be seen", "dog"];
  const batches = new Prompts(tokenizer, text).batches(words);
  assert.deepEqual(batches.map(({ places, length }) => [places, length]), [[[0, 2], 8], [[1], 16]]);
  assert.deepEqual(Array.from(batches[0].tokens.slice(8), Number), [101, 3899, 102, 0, 0, 0, 0, 0]);
});

test("a prompt that is too long is refused", () => {
  assert.throws(() => new Prompts(tokenizer, text).batches(["dog ".repeat(300)]), /“dog dog .*…” is too long/);
});

test("a usable description is taken, and its program for the protocol's pooling found", () => {
  const taken = checkedDescription(description);
  assert.equal(wordsProgram(taken, taken.protocols["auto"]), "words.onnx");
  assert.equal(wordsProgram(taken, { ...protocol, pooling: [1, 1] }), "other.onnx");
  assert.throws(() => wordsProgram(taken, { ...protocol, pooling: [3, 3] }), PageError);
});

test("words are selected as the protocol says, and all of them where words were taught", () => {
  const none = { keep: null, fraction: null, share: null, least: 1, by: "votes" } as const;
  const inputs = (selection: object, words: number, isTaught = false, unasked = 0) =>
    selectionInputs({ ...protocol, selection: { ...none, ...selection } }, words, unasked, isTaught);
  const share = { share: 0.98, least: 24 }, quarter = { fraction: 0.25, least: 16, keep: 64 };
  assert.deepEqual(inputs(share, 100), { least: 24, share: 0.98, bySimilarity: false, objects: 100 });
  assert.deepEqual(inputs(share, 100, true), { least: 100, share: 0, bySimilarity: false, objects: 100 });
  assert.deepEqual([8, 100, 1000].map((words) => inputs(quarter, words).least), [8, 25, 64]);
  assert.deepEqual(inputs({ keep: 256, by: "similarity" }, 1000), { least: 256, share: 0, bySimilarity: true, objects: 1000 });
  assert.deepEqual(selectionInputs(protocol, 1000, 3, false), { least: 1003, share: 0, bySimilarity: false, objects: 1003 });
  assert.equal(selectionInputs({ ...protocol, selection: { ...none, ...share } }, 40, 9, false, 64).least, 49);
  // words that nobody asked for vote, but take no place of a number to keep
  assert.deepEqual(inputs(share, 20, false, 8), { least: 24, share: 0.98, bySimilarity: false, objects: 28 });
  assert.deepEqual(inputs(quarter, 100, false, 8), { least: 25, share: 0, bySimilarity: false, objects: 100 });
});

for (const [wrong, message] of [
  [{ format: 2 }, /format/],
  [{ text: null }, /fixed words/],
  [{ has_parts: true }, /several views or parts/],
  [{ protocols: { auto: { ...protocol, sliding: { rows: 2 } } } }, /several views/],
  [{ protocols: { auto: { ...protocol, sigmoid_first: true } } }, /several views/],
] as const) {
  test(`a description with ${JSON.stringify(wrong).slice(0, 40)} is refused in one sentence`, () => {
    const isPlain = (error: unknown) => error instanceof PageError && message.test(error.message);
    assert.throws(() => checkedDescription({ ...description, ...wrong }), isPlain);
  });
}
