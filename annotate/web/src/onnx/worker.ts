/** The thread that runs the network, so that the page stays responsive. */

import { expose, transfer } from "comlink";

import type { ModelInfo, Pixels, Progress, Query, Segmentation, TaughtFile } from "../backend";
import { json, prepareRuntime } from "./loading";
import { Model, type SeenImage } from "./model";
import { Recent } from "./recent";

let model: Model | undefined;
const seen = new Recent<SeenImage>();

const functions = {
  async load(folder: string, progress: Progress): Promise<ModelInfo> {
    if (model) return model.info;
    const address = new URL(folder);
    // at the same time as the model's files
    const runtime = prepareRuntime();
    // a failure is told below
    runtime.catch(() => {});
    let sent = 0;
    model = await Model.load(await json(new URL("segvoc.json", address)), address, runtime, (share) => {
      // a message for every chunk would be thousands
      if (share < 1 && share - sent < 0.01) return;
      sent = share;
      progress(share);
    });
    return model.info;
  },

  teach(name: string, content: Uint8Array): Promise<TaughtFile> {
    return model!.teach(name, content);
  },

  /** @param image null: it is still known. */
  async segment(id: string, image: Pixels | null, query: Query): Promise<Segmentation> {
    const start = performance.now();
    try {
      if (image) seen.set(id, await model!.see(image));
      const labeled = await model!.label(seen.get(id)!, query);
      const value = { ...labeled, seconds: (performance.now() - start) / 1000 };
      return transfer(value, [value.labels.buffer, value.confidence.buffer]);
    } catch (error) {
      seen.delete(id);
      throw error;
    }
  },
};

export type NetworkFunctions = typeof functions;

expose(functions);
