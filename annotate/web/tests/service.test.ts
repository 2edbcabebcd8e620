import { encode } from "fast-png";
import { strToU8, zipSync } from "fflate";
import assert from "node:assert/strict";
import { test } from "node:test";

import { PageError } from "../src/backend";
import { readAnswer } from "../src/service/backend";

const RESULT = { model: "tiny", dtype: "float16", seconds: 0.5, classes: [{ name: "cat" }, { name: "sofa, couch" }] };

function answer(changes: Record<string, Uint8Array> = {}): Uint8Array {
  return zipSync({
    "labels.png": encode({
      width: 3,
      height: 1,
      data: Uint8Array.of(0, 1, 255),
      channels: 1,
      palette: Array(256).fill([1, 2, 3]),
    }),
    "confidence.png": encode({ width: 3, height: 1, data: Uint8Array.of(0, 128, 255), channels: 1 }),
    "overlay.png": new Uint8Array(4),
    "result.json": strToU8(JSON.stringify(RESULT)),
    ...changes,
  });
}

test("the zip of the service is read", () => {
  const found = readAnswer(answer());
  assert.deepEqual(
    [found.width, found.height, found.model, found.dtype, found.seconds],
    [3, 1, "tiny", "float16", 0.5],
  );
  assert.deepEqual(
    [found.words, Array.from(found.labels), Array.from(found.confidence), found.parts],
    [["cat", "sofa, couch"], [0, 1, 65535], [0, 128, 255], null],
  );
});

test("label maps with 16 bits are read", () => {
  const data = Uint16Array.of(0, 300, 65535);
  assert.deepEqual(
    readAnswer(answer({ "labels.png": encode({ width: 3, height: 1, data, channels: 1, depth: 16 }) })).labels,
    data,
  );
});

test("parts have the colors of their map", () => {
  const parts = [{ id: 0, object: "cat", part: "head", name: "cat's head" }];
  const map = encode({
    width: 3,
    height: 1,
    data: Uint8Array.of(0, 255, 255),
    channels: 1,
    palette: Array(256).fill([1, 2, 3]),
  });
  const found = readAnswer(answer({ "parts.png": map, "result.json": strToU8(JSON.stringify({ ...RESULT, parts })) }));
  assert.deepEqual(
    [found.parts!.names[0].name, Array.from(found.parts!.labels), found.parts!.colors],
    ["cat's head", [0, 65535, 65535], [[1, 2, 3]]],
  );
});

for (const [what, zip, message] of [
  ["no zip", strToU8("oops"), /can't be read/],
  ["a zip without labels", zipSync({ "result.json": strToU8("{}") }), /labels\.png is missing/],
  [
    "maps of two sizes",
    answer({ "confidence.png": encode({ width: 1, height: 1, data: Uint8Array.of(1), channels: 1 }) }),
    /differ in size/,
  ],
] as const) {
  test(`${what} is refused in one sentence`, () => {
    assert.throws(
      () => readAnswer(zip),
      (error: unknown) => error instanceof PageError && message.test(error.message),
    );
  });
}
