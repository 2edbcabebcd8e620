/** What the page and the worker that runs the network say to each other. */

import type { ModelInfo, Pixels, Query, Segmentation, TaughtFile } from "../backend";

export type Request =
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

export type Reply =
  | { readonly kind: "progress"; readonly share: number }
  | { readonly kind: "loaded"; readonly info: ModelInfo }
  | { readonly kind: "taught"; readonly file: TaughtFile }
  | { readonly kind: "segmented"; readonly segmentation: Segmentation }
  /** `isPlain`: the message is a sentence for the reader of the page. */
  | { readonly kind: "failed"; readonly message: string; readonly isPlain: boolean };
