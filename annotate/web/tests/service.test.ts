import assert from "node:assert/strict";
import { test } from "node:test";

import { PageError } from "../src/backend";
import { grayPng } from "../src/saving/maps";
import { readAnswer } from "../src/service/backend";
import { zip } from "./labeled";

const map = (width: number) => grayPng(new Uint8Array(width), { width, height: 1 });

for (const [what, content, message] of [
  ["no zip", Promise.resolve(new TextEncoder().encode("oops")), /can't be read/],
  ["a zip without labels", zip({ "result.json": "{}" }), /labels\.png is missing/],
  ["maps of two sizes", zip({ "result.json": "{}", "labels.png": map(3), "confidence.png": map(1) }), /differ in size/],
] as const) {
  test(`${what} is refused in one sentence`, async () => {
    const isPlain = (error: unknown) => error instanceof PageError && message.test(error.message);
    await assert.rejects(readAnswer(await content), isPlain);
  });
}
