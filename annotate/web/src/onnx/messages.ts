/** What the page and the worker that runs the network say to each other. */

import type { Improved, LabelMap, ModelInfo, Pixels, Query, Segmentation, TaughtFile } from "../backend";
import type { Failed } from "./failures";
import type { Stage } from "../teaching/teach";

/** What the page asks; `task` is a number of its own. */
export type Request = { readonly task: number } & (
  | Work
  /** Teach words from so many images, which the worker asks for one at a time. */
  | {
      readonly kind: "improve";
      readonly words: readonly string[];
      readonly synonyms: Query["synonyms"];
      readonly count: number;
    }
  /** The image that such a task wants. */
  | { readonly kind: "example"; readonly image: Pixels; readonly labels: LabelMap }
  /** Such an image can't be read, or nobody wants the result any more. */
  | { readonly kind: "cancel" }
);

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

/** What the worker answers to a task; all but progress, steps and wants end it. */
export type Reply = { readonly task: number } & (
  | { readonly kind: "progress"; readonly share: number }
  | { readonly kind: "step"; readonly stage: Stage; readonly done: number; readonly total: number }
  /** Index of the image that is read next. */
  | { readonly kind: "wants"; readonly index: number }
  | { readonly kind: "loaded"; readonly info: ModelInfo }
  | { readonly kind: "taught"; readonly file: TaughtFile }
  | { readonly kind: "segmented"; readonly segmentation: Segmentation }
  | { readonly kind: "improved"; readonly improved: Improved }
  | Failed
);
