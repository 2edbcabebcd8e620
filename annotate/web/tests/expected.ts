/** What the Python code gives for the same inputs: `annotate/tools/make_web_data.py` writes it. */

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

import * as ort from "onnxruntime-web/wasm";

import type { Pixels } from "../src/backend";
import type { Description } from "../src/onnx/description";

// tests are bundled to build/web/tests and run from the folder web
export const expected = JSON.parse(readFileSync("tests/expected.json", "utf8"));
export const tokenizer = JSON.parse(readFileSync("../../src/segvoc/weights/minilm_l6_tokenizer.json", "utf8")) as object;
const weights = "../../src/segvoc/weights/";
export const tiny = JSON.parse(readFileSync(weights + "tiny_segvoc.json", "utf8")) as Description;

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

/** The programs of the shipped model's decision. */
export async function decisionPrograms(): Promise<Record<string, ort.InferenceSession>> {
  const runtime = new URL("node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded", pathToFileURL("./"));
  ort.env.wasm.wasmPaths = { mjs: `${runtime}.mjs` };
  ort.env.wasm.wasmBinary = Uint8Array.from(readFileSync(new URL(`${runtime}.wasm`))).buffer;
  ort.env.wasm.numThreads = 1;
  const opened: Record<string, ort.InferenceSession> = {};
  for (const [name, file] of Object.entries(tiny.decision_programs))
    opened[name] = await ort.InferenceSession.create(readFileSync(weights + file));
  return opened;
}
