import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { borderLines, overlay } from "../src/imaging/overlay";
import { wordColor } from "../src/imaging/palette";
import { resizedPlanes } from "../src/imaging/resize";
import { bytes, expected, pixels } from "./expected";

for (const { source, target, image, resized } of expected.resized) {
  test(`resizing ${source} to ${target} gives Pillow's values`, () => {
    const [height, width] = target;
    const planes = resizedPlanes(pixels(image, source), height, width);
    const interleaved = planes.map((_, at) => planes[(at % 3) * height * width + Math.floor(at / 3)]);
    assert.deepEqual(interleaved, Float32Array.from(bytes(resized)));
  });
}

for (const { opacity, size, image, labels, overlay: drawn } of expected.overlays) {
  test(`the overlay at opacity ${opacity} is Python's, up to rounding`, () => {
    const colors = new Map([0, 1, 2, 3].map((word) => [word, wordColor(word)]));
    const result = overlay(pixels(image, size), new Uint16Array(bytes(labels).buffer), colors, opacity);
    const rgb = Array.from(result).filter((_, at) => at % 4 < 3);
    for (const [at, value] of bytes(drawn).entries()) assert.ok(Math.abs(value - rgb[at]) <= 1, `${value} ${rgb[at]}`);
    assert.ok(result.every((value, at) => at % 4 < 3 || value === 255));
  });
}

test("wide borders are Python's", () => {
  const { words, size, sha256 } = expected.chequered;
  const [height, width] = size;
  const label = (at: number) => (7 * Math.floor((at % width) / 37) + 3 * Math.floor(at / width / 23)) % words;
  const labels = Uint16Array.from({ length: width * height }, (_, at) => label(at));
  const colors = new Map(Array.from({ length: words }, (_, word) => [word, wordColor(word)]));
  const black = { width, height, data: new Uint8ClampedArray(4 * width * height) };
  const rgb = overlay(black, labels, colors, 1).filter((_, at) => at % 4 < 3);
  assert.equal(createHash("sha256").update(rgb).digest("hex"), sha256);
});

test("corrected rectangles have the borders of the whole image", () => {
  const size = { width: 320, height: 310 };
  const label = (at: number) => Math.floor((at % 320) / 9) + Math.floor(at / 320 / 7);
  const labels = Uint16Array.from({ length: 320 * 310 }, (_, at) => label(at));
  const all = borderLines(labels, size, { left: 0, top: 0, right: 320, bottom: 310 });
  const part = borderLines(labels, size, { left: 20, top: 30, right: 27, bottom: 33 });
  assert.deepEqual(Array.from(part), [30, 31, 32].flatMap((y) => Array.from(all.subarray(320 * y + 20, 320 * y + 27))));
});
