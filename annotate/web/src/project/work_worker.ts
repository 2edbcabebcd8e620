/** The thread that packs and unpacks files of images' work, which takes seconds for large images. */

import { type Sent, serve } from "../worker_calls";
import type { Context } from "./keeping";
import type { ImageState, KeptDraft, Work } from "./structure";
import { decodeWork, encodeWork } from "./work_file";
import type { Vocabulary } from "./words";

interface Packed {
  readonly state: ImageState;
  readonly work: Omit<Work, "draft">;
  /** "known": the one of the last call, since corrections change more often than what the model found. */
  readonly draft: KeptDraft | null | "known";
  readonly context: Context;
}

let last: KeptDraft | null = null;

const functions = {
  async pack({ state, work, draft, context }: Packed): Promise<Sent<Uint8Array<ArrayBuffer>>> {
    if (draft !== "known") last = draft;
    const value = await encodeWork(state, { ...work, draft: last }, context);
    return { value, transfer: [value.buffer] };
  },

  async unpack({ content, vocabulary }: { content: Uint8Array; vocabulary: Vocabulary }) {
    const value = await decodeWork(content, vocabulary);
    const { draft } = value.work;
    return { value, transfer: draft ? [draft.labels.buffer, draft.confidence.buffer] : [] };
  },
};

export type WorkFunctions = typeof functions;

serve(functions);
