/** Packs and unpacks files of images' work without keeping the page from answering. */

import { transfer } from "comlink";

import type { Context, Draft, Rule } from "../labels/labeling";
import type { WorkerCalls } from "../worker_calls";
import type { ImageState, Work } from "./structure";
import type { DecodedWork, Rows } from "./work_file";
import type { Vocabulary } from "./words";
import type { WorkFunctions } from "./work_worker";

export class WorkPacker {
  /** The draft that the worker has. */
  private known: Draft | null = null;

  constructor(private readonly calls: WorkerCalls<WorkFunctions>) {}

  /** @param hasDraft see `encodeWork`. */
  async pack(
    state: ImageState,
    { draft, edits, settled }: Work,
    context: Context,
    hasDraft: boolean,
    rows: Rows | null = null,
  ): Promise<Uint8Array<ArrayBuffer>> {
    // the history isn't in the file
    const work = { edits: edits && { ...edits, done: [], undone: [] }, settled: rows ? null : settled };
    try {
      return await this.calls.call((worker) => {
        const isKnown = draft !== null && draft === this.known;
        this.known = draft;
        return worker.pack({ state, work, draft: isKnown ? "known" : draft, context, hasDraft, rows });
      });
    } catch (error) {
      this.known = null;
      throw error;
    }
  }

  unpack(content: Uint8Array<ArrayBuffer>, vocabulary: Vocabulary, rule: Rule | null = null): Promise<DecodedWork> {
    return this.calls.call((worker) => worker.unpack(transfer(content, [content.buffer]), vocabulary, rule));
  }
}
