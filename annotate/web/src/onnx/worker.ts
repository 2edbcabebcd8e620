/** The thread that runs the network, so that the page stays responsive. */

import type { ModelInfo, Segmentation } from "../backend";
import { Loader, json } from "./loading";
import { failedBy, type Reply, type Request, type Work } from "./messages";
import { Model, type SeenImage } from "./model";
import { Recent } from "./recent";
import { prepareRuntime } from "./runtime";

const send = (reply: Reply, transfer: Transferable[] = []) => self.postMessage(reply, { transfer });

let model: Model | undefined;
const seen = new Recent<SeenImage>();

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { task } = data;
  try {
    if (data.kind === "load") send({ task, kind: "loaded", info: await load(task, new URL(data.folder)) });
    else if (data.kind === "teach") send({ task, kind: "taught", file: await model!.teach(data.name, data.content) });
    else {
      const segmentation = await segment(data);
      send({ task, kind: "segmented", segmentation }, [segmentation.labels.buffer, segmentation.confidence.buffer]);
    }
  } catch (error) {
    send({ task, ...failedBy(error) });
  }
};

async function load(task: number, folder: URL): Promise<ModelInfo> {
  if (model) return model.info;
  // at the same time as the model's files
  const runtime = prepareRuntime();
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
  model = await Model.load(content, files, runtime);
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
