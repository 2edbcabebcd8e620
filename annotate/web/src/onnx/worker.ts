/** The thread that runs the network, so that the page stays responsive. */

import type { ModelInfo, Pixels, Query, Segmentation, TaughtFile } from "../backend";
import { type Sent, serve } from "../worker_calls";
import { json } from "./loading";
import { Model, type SeenImage } from "./model";
import { Recent } from "./recent";
import { prepareRuntime } from "./runtime";

let model: Model | undefined;
const seen = new Recent<SeenImage>();

interface Asked {
  readonly id: string;
  /** null: it is still known. */
  readonly image: Pixels | null;
  readonly query: Query;
}

const functions = {
  async load(folder: string, tell: (share: Sent<number>) => void): Promise<Sent<ModelInfo>> {
    model ??= await loaded(new URL(folder), (value) => tell({ value }));
    return { value: model.info };
  },

  async teach({ name, content }: { name: string; content: Uint8Array }): Promise<Sent<TaughtFile>> {
    return { value: await model!.teach(name, content) };
  },

  async segment({ id, image, query }: Asked): Promise<Sent<Segmentation>> {
    const start = performance.now();
    try {
      if (image) seen.set(id, await model!.see(image));
      const labeled = await model!.label(seen.get(id)!, query);
      const value = { ...labeled, seconds: (performance.now() - start) / 1000 };
      return { value, transfer: [value.labels.buffer, value.confidence.buffer] };
    } catch (error) {
      seen.delete(id);
      throw error;
    }
  },
};

export type NetworkFunctions = typeof functions;

serve(functions);

async function loaded(folder: URL, progress: (share: number) => void): Promise<Model> {
  // at the same time as the model's files
  const runtime = prepareRuntime();
  // a failure is told below
  runtime.catch(() => {});
  const content = await json(new URL("segvoc.json", folder));
  let sent = 0;
  return Model.load(content, folder, runtime, (share) => {
    // a message for every chunk would be thousands
    if (share < 1 && share - sent < 0.01) return;
    sent = share;
    progress(share);
  });
}
