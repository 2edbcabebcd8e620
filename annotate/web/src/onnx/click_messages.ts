/** What the page and the worker in which objects are clicked say to each other. */

import type { Pixels } from "../backend";
import type { Click, Guess } from "../clicks/guess";
import type { Box, Runs } from "../labels/runs";
import type { Failed } from "./failures";

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
