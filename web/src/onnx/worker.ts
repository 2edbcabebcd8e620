/** The thread that runs the network, so that the page stays responsive. */

import * as ort from "onnxruntime-web/wasm";

import { PageError, type ModelInfo, type Segmentation } from "../backend";
import { Loader, json, unzipped } from "./loading";
import type { Reply, Request } from "./messages";
import { Model, type SeenImage } from "./model";
import { Recent } from "./recent";

/** ONNX Runtime's WebAssembly file, beside this script. */
const RUNTIME = "ort-wasm-simd-threaded.wasm.gz";

/** More threads hardly help a small network. */
const MOST_THREADS = 4;

const here = new URL(".", self.location.href);
const send = (reply: Reply, transfer: Transferable[] = []) => self.postMessage(reply, { transfer });

let model: Model | undefined;
const seen = new Recent<SeenImage>();

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  try {
    if (data.kind === "load") send({ kind: "loaded", info: await load(new URL(data.folder)) });
    else if (data.kind === "teach") send({ kind: "taught", file: await model!.teach(data.name, data.content) });
    else {
      const segmentation = await segment(data);
      send({ kind: "segmented", segmentation }, [segmentation.labels.buffer, segmentation.confidence.buffer]);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    send({ kind: "failed", message, isPlain: error instanceof PageError });
  }
};

async function load(folder: URL): Promise<ModelInfo> {
  if (model) return model.info;
  const content = await json(new URL("segvoc.json", folder));
  let sent = 0;
  const files = new Loader(folder, (share) => {
    // a message for every chunk would be thousands
    if (share < 1 && share - sent < 0.01) return;
    sent = share;
    send({ kind: "progress", share });
  });
  ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.mjs", here).href };
  ort.env.wasm.wasmBinary = await unzipped(new URL(RUNTIME, here));
  // threads share memory, which browsers allow only to pages that are isolated from other origins
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, self.navigator.hardwareConcurrency) : 1;
  model = await Model.load(content, files);
  return model.info;
}

async function segment({ id, image, query }: Request & { kind: "segment" }): Promise<Segmentation> {
  const start = performance.now();
  try {
    if (image) seen.set(id, await model!.see(image));
    const labeled = await model!.label(seen.get(id)!, query);
    return { ...labeled, seconds: (performance.now() - start) / 1000 };
  } catch (error) {
    seen.delete(id);
    throw error;
  }
}
