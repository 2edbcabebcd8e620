/** The thread that runs the network, so that the page stays responsive. */

import * as ort from "onnxruntime-web/wasm";

import { PageError, type ModelInfo, type Segmentation } from "../backend";
import { Lesson } from "./lesson";
import { Loader, json, unzipped } from "./loading";
import type { Reply, Request, Work } from "./messages";
import { Model, type SeenImage } from "./model";
import { Recent } from "./recent";
import { Turns } from "./turns";

/** ONNX Runtime's WebAssembly file, beside this script. */
const RUNTIME = "ort-wasm-simd-threaded.wasm.gz";

/** More threads hardly help a small network. */
const MOST_THREADS = 4;

const here = new URL(".", self.location.href);
const send = (reply: Reply, transfer: Transferable[] = []) => self.postMessage(reply, { transfer });

let model: Model | undefined;
const seen = new Recent<SeenImage>();
/** The network does one thing at a time; between the steps of teaching, images are labeled. */
const turns = new Turns();
const lessons = new Map<number, Lesson>();

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { task } = data;
  try {
    if (data.kind === "load") send({ task, kind: "loaded", info: await turns.take(() => load(task, new URL(data.folder))) });
    else if (data.kind === "teach")
      send({ task, kind: "taught", file: await turns.take(() => model!.teach(data.name, data.content)) });
    else if (data.kind === "segment") {
      const segmentation = await turns.take(() => segment(data));
      send({ task, kind: "segmented", segmentation }, [segmentation.labels.buffer, segmentation.confidence.buffer]);
    } else if (data.kind === "improve") {
      const lesson = new Lesson(data, (reply) => send({ task, ...reply }));
      lessons.set(task, lesson);
      const improved = await lesson.learn(model!.teachable(turns)).finally(() => lessons.delete(task));
      send({ task, kind: "improved", improved }, [improved.content.buffer]);
    } else if (data.kind === "example") lessons.get(task)?.give(data);
    else lessons.get(task)?.cancel();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    send({ task, kind: "failed", message, isPlain: error instanceof PageError });
  }
};

async function load(task: number, folder: URL): Promise<ModelInfo> {
  if (model) return model.info;
  // at the same time as the model's files
  const runtime = unzipped(new URL(RUNTIME, here));
  // a failure is told below
  runtime.catch(() => {});
  const content = await json(new URL("segvoc.json", folder));
  let sent = 0;
  const files = new Loader(folder, (share) => {
    // a message for every chunk would be thousands
    if (share < 1 && share - sent < 0.01) return;
    sent = share;
    send({ task, kind: "progress", share });
  });
  ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.mjs", here).href };
  // threads share memory, which browsers allow only to pages that are isolated from other origins
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, self.navigator.hardwareConcurrency) : 1;
  const started = runtime.then((binary) => void (ort.env.wasm.wasmBinary = binary));
  model = await Model.load(content, files, started);
  return model.info;
}

async function segment({ id, image, query }: Work & { kind: "segment" }): Promise<Segmentation> {
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
