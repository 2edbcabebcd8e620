/** Labels images inside the page, with a network in a folder beside it. */

import {
  type Backend,
  type ImageSource,
  type ModelInfo,
  type Progress,
  type Query,
  type Segmentation,
  type TaughtFile,
} from "../backend";
import { failure, NOT_STARTED, type Reply, type Request, type Work } from "./messages";
import { Recent } from "./recent";
import { Turns } from "./turns";

export class OnnxBackend implements Backend {
  readonly atOnce = 1;
  private worker: Worker | null = null;
  private loading: Promise<ModelInfo> | null = null;
  private progress: Progress = () => {};
  /** The images of which the worker knows what the network sees. */
  private readonly known = new Recent<true>();
  /** What is asked one after the other: the next one waits. */
  private readonly turns = new Turns();
  /** Tasks that were given so far, and who listens to the answers. */
  private tasks = 0;
  private readonly listeners = new Map<number, (reply: Reply) => void>();

  /**
   * @param script address of the built worker.
   * @param folder address of the exported model.
   */
  constructor(
    private readonly script: URL,
    private readonly folder: URL,
  ) {}

  load(progress: Progress): Promise<ModelInfo> {
    this.progress = progress;
    return (this.loading ??= this.loaded());
  }

  /** Begin to load the network, so that it is there when `load` asks for it. */
  prepare(): void {
    // whoever loads it is told what fails
    this.load(this.progress).catch(() => {});
  }

  private async loaded(): Promise<ModelInfo> {
    this.worker ??= this.started();
    try {
      const reply = await this.ask(async () => ({ kind: "load", folder: this.folder.href }), (share) => this.progress(share));
      if (reply.kind !== "loaded") throw new Error(`unexpected reply: ${reply.kind}`);
      return reply.info;
    } catch (error) {
      // it is tried again when it is asked for again
      this.loading = null;
      throw error;
    }
  }

  async segment(image: ImageSource, query: Query, signal: AbortSignal): Promise<Segmentation> {
    let isSent = false;
    const request = async (): Promise<Work> => {
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

  private ask(work: () => Promise<Work>, progress: Progress = () => {}): Promise<Reply> {
    return this.turns.take(async () => this.answer(await work(), progress));
  }

  private answer(work: Work, progress: Progress): Promise<Reply> {
    const task = this.tasks++;
    return new Promise((resolve, reject) => {
      this.listeners.set(task, (reply) => {
        if (reply.kind === "progress") return progress(reply.share);
        this.listeners.delete(task);
        if (reply.kind === "failed") reject(failure(reply));
        else resolve(reply);
      });
      const isNew = work.kind === "segment" && work.image;
      this.worker!.postMessage({ task, ...work } satisfies Request, isNew ? [isNew.data.buffer] : []);
    });
  }

  private started(): Worker {
    const worker = new Worker(this.script, { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<Reply>) => this.listeners.get(data.task)?.(data);
    worker.onerror = (event) => {
      event.preventDefault();
      for (const [task, listener] of this.listeners) listener({ task, ...NOT_STARTED });
    };
    return worker;
  }
}
