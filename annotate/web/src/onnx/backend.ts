/** Labels images inside the page, with a network in a folder beside it. */

import { proxy, transfer } from "comlink";

import type { Backend, ImageSource, ModelInfo, Progress, Query, Segmentation, TaughtFile } from "../backend";
import type { WorkerCalls } from "../worker_calls";
import { Recent } from "./recent";
import type { NetworkFunctions } from "./worker";

export class OnnxBackend implements Backend {
  readonly atOnce = 1;
  private loading: Promise<ModelInfo> | null = null;
  private progress: Progress = () => {};
  /** The images of which the worker knows what the network sees. */
  private readonly known = new Recent<true>();

  constructor(
    private readonly calls: WorkerCalls<NetworkFunctions>,
    private readonly folder: URL,
  ) {}

  load(progress: Progress): Promise<ModelInfo> {
    this.progress = progress;
    const onProgress = proxy((share: number) => this.progress(share));
    this.loading ??= this.calls.call((worker) => worker.load(this.folder.href, onProgress)).catch((error) => {
      // it is tried again when it is asked for again
      this.loading = null;
      throw error;
    });
    return this.loading;
  }

  async segment(image: ImageSource, query: Query, signal: AbortSignal): Promise<Segmentation> {
    let isSent = false;
    try {
      return await this.calls.call(async (worker) => {
        signal.throwIfAborted();
        const pixels = this.known.get(image.id) ? null : await image.pixels();
        // from here on, the worker remembers and forgets the same
        this.known.set(image.id, true);
        isSent = true;
        return worker.segment(image.id, pixels && transfer(pixels, [pixels.data.buffer]), query);
      });
    } catch (error) {
      if (isSent) this.known.delete(image.id);
      throw error;
    }
  }

  teach(name: string, content: Uint8Array): Promise<TaughtFile> {
    return this.calls.call((worker) => worker.teach(name, content));
  }
}
