/** Labels images inside the page, with a network in a folder beside it. */

import {
  PageError,
  type Backend,
  type ImageSource,
  type ModelInfo,
  type Progress,
  type Query,
  type Segmentation,
  type TaughtFile,
} from "../backend";
import type { Reply, Request } from "./messages";
import { Recent } from "./recent";

export class OnnxBackend implements Backend {
  readonly atOnce = 1;
  private worker: Worker | null = null;
  /** The images of which the worker knows what the network sees. */
  private readonly known = new Recent<true>();
  /** The request that runs; the next one waits for it. */
  private running: Promise<unknown> = Promise.resolve();

  /**
   * @param script address of the built worker.
   * @param folder address of the exported model.
   */
  constructor(
    private readonly script: URL,
    private readonly folder: URL,
  ) {}

  async load(progress: Progress): Promise<ModelInfo> {
    this.worker ??= new Worker(this.script, { type: "module" });
    const reply = await this.ask(async () => ({ kind: "load", folder: this.folder.href }), progress);
    if (reply.kind !== "loaded") throw new Error(`unexpected reply: ${reply.kind}`);
    return reply.info;
  }

  async segment(image: ImageSource, query: Query, signal: AbortSignal): Promise<Segmentation> {
    let isSent = false;
    const request = async (): Promise<Request> => {
      signal.throwIfAborted();
      const pixels = this.known.get(image.id) ? null : await image.pixels();
      // from here on, the worker remembers and forgets the same
      this.known.set(image.id, true);
      isSent = true;
      return { kind: "segment", id: image.id, image: pixels, query };
    };
    try {
      const reply = await this.ask(request);
      if (reply.kind !== "segmented") throw new Error(`unexpected reply: ${reply.kind}`);
      return reply.segmentation;
    } catch (error) {
      if (isSent) this.known.delete(image.id);
      throw error;
    }
  }

  async teach(name: string, content: Uint8Array): Promise<TaughtFile> {
    const reply = await this.ask(async () => ({ kind: "teach", name, content }));
    if (reply.kind !== "taught") throw new Error(`unexpected reply: ${reply.kind}`);
    return reply.file;
  }

  private ask(request: () => Promise<Request>, progress: Progress = () => {}): Promise<Reply> {
    const reply = this.running.then(request).then((given) => this.answer(given, progress));
    this.running = reply.catch(() => {});
    return reply;
  }

  private answer(request: Request, progress: Progress): Promise<Reply> {
    const worker = this.worker!;
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if (data.kind === "progress") progress(data.share);
        else if (data.kind === "failed") {
          const cause = `The network failed (${data.message.split("\n")[0]}); reload the page, or try a smaller image.`;
          reject(new PageError(data.isPlain ? data.message : cause));
        } else resolve(data);
      };
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new PageError("The page's script couldn't start; use a current browser, and load the page again."));
      };
      const isNew = request.kind === "segment" && request.image;
      worker.postMessage(request, isNew ? [isNew.data.buffer] : []);
    });
  }
}
