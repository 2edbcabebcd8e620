/** Packs and unpacks files of images' work without keeping the page from answering. */

import { PageError } from "../backend";
import type { Context } from "./keeping";
import type { ImageState, KeptDraft, Work } from "./structure";
import type { Vocabulary } from "./words";

interface Waiting {
  resolve(reply: WorkReply): void;
  reject(error: Error): void;
}

type Task = WorkRequest extends infer One ? (One extends WorkRequest ? Omit<One, "task"> : never) : never;

export class WorkPacker {
  private worker: Worker | null = null;
  /** The draft that the worker has. */
  private known: KeptDraft | null = null;
  private tasks = 0;
  private readonly waiting = new Map<number, Waiting>();

  /** @param script address of the built worker. */
  constructor(private readonly script: URL) {}

  /** The file of an image. */
  async pack(state: ImageState, { draft, edits, settled }: Work, context: Context): Promise<Uint8Array<ArrayBuffer>> {
    // the history isn't in the file
    const work = { edits: edits && { ...edits, done: [], undone: [] }, settled };
    const isKnown = draft !== null && draft === this.known;
    const asked = this.ask({ kind: "pack", state, work, draft: isKnown ? "known" : draft, context });
    this.known = draft;
    const reply = await asked;
    if (reply.kind !== "packed") throw new Error(`unexpected reply: ${reply.kind}`);
    return reply.content;
  }

  /**
   * What such a file has.
   *
   * @throws Error it isn't such a file.
   */
  async unpack(content: Uint8Array<ArrayBuffer>, vocabulary: Vocabulary): Promise<{ state: ImageState; work: Work }> {
    const reply = await this.ask({ kind: "unpack", content, vocabulary }, [content.buffer]);
    if (reply.kind !== "unpacked") throw new Error(`unexpected reply: ${reply.kind}`);
    return reply;
  }

  private ask(work: Task, transfer: Transferable[] = []): Promise<WorkReply> {
    const worker = (this.worker ??= this.started());
    const task = this.tasks++;
    return new Promise((resolve, reject) => {
      this.waiting.set(task, { resolve, reject });
      worker.postMessage({ task, ...work } satisfies WorkRequest, transfer);
    });
  }

  private started(): Worker {
    const worker = new Worker(this.script, { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<WorkReply>) => {
      const { resolve, reject } = this.waiting.get(data.task)!;
      this.waiting.delete(data.task);
      if (data.kind === "failed") reject(new Error(data.message));
      else resolve(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.worker = this.known = null;
      for (const { reject } of this.waiting.values()) reject(new PageError(NOT_STARTED));
      this.waiting.clear();
    };
    return worker;
  }
}

const NOT_STARTED = "The page's script couldn't start; use a current browser, and load the page again.";

/** What the page asks; `task` is a number of its own. */
export type WorkRequest = { readonly task: number } & (
  | {
      readonly kind: "pack";
      readonly state: ImageState;
      readonly work: Omit<Work, "draft">;
      /** "known": the one of the last request. */
      readonly draft: KeptDraft | null | "known";
      readonly context: Context;
    }
  | { readonly kind: "unpack"; readonly content: Uint8Array<ArrayBuffer>; readonly vocabulary: Vocabulary }
);

/** What the worker answers to a task. */
export type WorkReply = { readonly task: number } & (
  | { readonly kind: "packed"; readonly content: Uint8Array<ArrayBuffer> }
  | { readonly kind: "unpacked"; readonly state: ImageState; readonly work: Work }
  | { readonly kind: "failed"; readonly message: string }
);
