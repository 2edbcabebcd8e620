/** What the page and its workers say to each other: the one that runs the network, and the one for clicks. */

import { type ModelInfo, PageError, type Pixels, type Query, type Segmentation, type TaughtFile } from "../backend";
import type { Click, Guess } from "../clicks/guess";
import type { Box, Runs } from "../labels/runs";

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

export interface ClickRequest {
  /** Address of the network's folder. */
  readonly folder: string;
  /** null: the worker still has the image. */
  readonly image: Pixels | null;
  readonly question: ClickQuestion;
}

export type ClickQuestion =
  /** See the image before it is clicked. */
  | { readonly kind: "look" }
  | { readonly kind: "click"; readonly before: Guess | null; readonly click: Click }
  | { readonly kind: "box"; readonly box: Box };

export type ClickReply =
  | { readonly kind: "looked" }
  /** `isFirst`: a better answer follows. */
  | { readonly kind: "guessed"; readonly guess: Guess; readonly runs: Runs; readonly isFirst: boolean }
  | Failed;

/** The answer of a worker that failed. */
export interface Failed {
  readonly kind: "failed";
  readonly message: string;
  /** Whether the message is a sentence for the reader of the page. */
  readonly isPlain: boolean;
}

/** The answer of a worker that couldn't start. */
export const NOT_STARTED: Failed = {
  kind: "failed",
  message: "The page's script couldn't start; use a current browser, and load the page again.",
  isPlain: true,
};

/** What a worker answers about an error. */
export function failedBy(error: unknown): Failed {
  const message = error instanceof Error ? error.message : String(error);
  return { kind: "failed", message, isPlain: error instanceof PageError };
}

/** What the reader is told. */
export function failure({ message, isPlain }: Failed): PageError {
  const cause = `The network failed (${message.split("\n")[0]}); reload the page, or try a smaller image.`;
  return new PageError(isPlain ? message : cause);
}
