/** What the page and the worker that runs the network say to each other. */

import type { ModelInfo, Pixels, Query, Segmentation, TaughtFile } from "../backend";
import type { Failed } from "./failures";

/** What the page asks; `task` is a number of its own. */
export type Request = { readonly task: number } & Work;

/** What one task asks after the other. */
export type Work =
  /** `folder`: address of the exported model. */
  | { readonly kind: "load"; readonly folder: string }
  | { readonly kind: "teach"; readonly name: string; readonly content: Uint8Array }
  | {
      readonly kind: "segment";
      readonly id: string;
      /** null: the worker still knows the image. */
      readonly image: Pixels | null;
      readonly query: Query;
    };

/** What the worker answers to a task; all but progress end it. */
export type Reply = { readonly task: number } & (
  | { readonly kind: "progress"; readonly share: number }
  | { readonly kind: "loaded"; readonly info: ModelInfo }
  | { readonly kind: "taught"; readonly file: TaughtFile }
  | { readonly kind: "segmented"; readonly segmentation: Segmentation }
  | Failed
);
