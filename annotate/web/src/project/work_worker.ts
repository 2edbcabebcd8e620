/** The thread that packs and unpacks files of images' work, which takes seconds for large images. */

import { expose, transfer } from "comlink";

import type { Context, Draft, Rule } from "../labels/labeling";
import type { ImageState, Work } from "./structure";
import { decodeWork, encodeWork, type Rows } from "./work_file";
import type { Vocabulary } from "./words";

interface Packed {
  readonly state: ImageState;
  readonly work: Omit<Work, "draft">;
  /** "known": the one of the last call, since corrections change more often than what the model found. */
  readonly draft: Draft | null | "known";
  readonly context: Context;
  readonly hasDraft: boolean;
  readonly rows: Rows | null;
}

let last: Draft | null = null;

const functions = {
  async pack({ state, work, draft, context, hasDraft, rows }: Packed): Promise<Uint8Array<ArrayBuffer>> {
    if (draft !== "known") last = draft;
    const value = await encodeWork(state, { ...work, draft: last }, context, hasDraft, rows);
    return transfer(value, [value.buffer]);
  },

  async unpack(content: Uint8Array, vocabulary: Vocabulary, rule: Rule | null) {
    const value = await decodeWork(content, vocabulary, rule);
    const { draft } = value.work;
    return transfer(value, draft ? [draft.labels.buffer, draft.confidence.buffer] : []);
  },
};

export type WorkFunctions = typeof functions;

expose(functions);
