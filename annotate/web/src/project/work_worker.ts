/** The thread that packs and unpacks files of images' work, which takes seconds for large images. */

import { expose, transfer } from "comlink";

import type { Context, Draft } from "../labels/labeling";
import type { ImageState, Work } from "./structure";
import { decodeWork, encodeWork } from "./work_file";
import type { Vocabulary } from "./words";

interface Packed {
  readonly state: ImageState;
  readonly work: Omit<Work, "draft">;
  /** "known": the one of the last call, since corrections change more often than what the model found. */
  readonly draft: Draft | null | "known";
  readonly context: Context;
  readonly hasDraft: boolean;
}

let last: Draft | null = null;

const functions = {
  async pack({ state, work, draft, context, hasDraft }: Packed): Promise<Uint8Array<ArrayBuffer>> {
    if (draft !== "known") last = draft;
    const value = await encodeWork(state, { ...work, draft: last }, context, hasDraft);
    return transfer(value, [value.buffer]);
  },

  async unpack(content: Uint8Array, vocabulary: Vocabulary) {
    const value = await decodeWork(content, vocabulary);
    const { draft } = value.work;
    return transfer(value, draft ? [draft.labels.buffer, draft.confidence.buffer] : []);
  },
};

export type WorkFunctions = typeof functions;

expose(functions);
