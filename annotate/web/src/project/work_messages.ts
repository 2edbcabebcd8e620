/** What the page and the worker that packs files of images' work say to each other. */

import type { Context } from "./context";
import type { ImageState, KeptDraft, Work } from "./structure";
import type { Vocabulary } from "./words";

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
