/** What the Python code gives for the same inputs: `annotate/tools/make_web_data.py` writes it. */

import { readFileSync } from "node:fs";

import type { Pixels } from "../src/backend";

// tests are bundled to build/web/tests and run from the folder web
export const expected = JSON.parse(readFileSync("tests/expected.json", "utf8"));
export const tokenizer = JSON.parse(readFileSync("../../src/segvoc/weights/minilm_l6_tokenizer.json", "utf8")) as object;
export const kinds = JSON.parse(readFileSync("../../src/segvoc/weights/tiny_kinds.json", "utf8")) as Record<string, string[]>;

export function bytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, "base64"));
}

/** An image from base64 of its RGB values. */
export function pixels(text: string, [height, width]: readonly number[]): Pixels {
  const rgb = bytes(text);
  const data = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) data.set(rgb.subarray(3 * pixel, 3 * pixel + 3), 4 * pixel);
  return { width, height, data };
}
