import { encode } from "fast-png";
import assert from "node:assert/strict";
import { test } from "node:test";

import { PageError } from "../src/backend";
import { readAnswer } from "../src/service/backend";
import { zip } from "./labeled";

const RESULT = { model: "tiny", dtype: "float16", seconds: 0.5, classes: [{ name: "cat" }, { name: "sofa, couch" }] };

const PALETTE = { palette: Array(256).fill([1, 2, 3]) };

/** A map of one row. */
function row(data: Uint8Array | Uint16Array, more: object = {}) {
  return encode({ width: data.length, height: 1, data, channels: 1, ...more }) as Uint8Array<ArrayBuffer>;
}

function answer(changes: Parameters<typeof zip>[0] = {}) {
  return zip({
    "labels.png": row(Uint8Array.of(0, 1, 255), PALETTE),
    "confidence.png": row(Uint8Array.of(0, 128, 255)),
    "overlay.png": new Uint8Array(4),
    "result.json": JSON.stringify(RESULT),
    ...changes,
  });
}

test("label maps with 16 bits are read", async () => {
  const data = Uint16Array.of(0, 300, 65535);
  const { labels } = await readAnswer(await answer({ "labels.png": row(data, { depth: 16 }) }));
  assert.deepEqual(labels, data);
});

for (const [what, content, message] of [
  ["no zip", Promise.resolve(new TextEncoder().encode("oops")), /can't be read/],
  ["a zip without labels", zip({ "result.json": "{}" }), /labels\.png is missing/],
  ["maps of two sizes", answer({ "confidence.png": row(Uint8Array.of(1)) }), /differ in size/],
] as const) {
  test(`${what} is refused in one sentence`, async () => {
    await assert.rejects(readAnswer(await content), (error: unknown) => error instanceof PageError && message.test(error.message));
  });
}
