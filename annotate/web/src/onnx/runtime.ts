/** ONNX Runtime in this worker. */

import * as ort from "onnxruntime-web/wasm";

import { unzipped } from "./loading";

/** ONNX Runtime's WebAssembly file, beside this script. */
const FILE = "ort-wasm-simd-threaded.wasm.gz";

/** More threads hardly help a small network. */
const MOST_THREADS = 4;

/** A program that returns its input, y = x. */
const IDENTITY = Uint8Array.from(
  atob("CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQEQ=="),
  (character) => character.charCodeAt(0),
);

export async function prepareRuntime(): Promise<void> {
  const here = new URL(".", self.location.href);
  ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.mjs", here).href };
  ort.env.wasm.wasmBinary = await unzipped(new URL(FILE, here));
  // threads share memory, which browsers allow only to pages that are isolated from other origins
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, self.navigator.hardwareConcurrency) : 1;
  // opening a program compiles the WebAssembly and starts threads, for which the network's files needn't be there
  await (await ort.InferenceSession.create(IDENTITY, { executionProviders: ["wasm"] })).release();
}
