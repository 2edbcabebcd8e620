/** What fails in a worker, and what the reader of the page is told about it. */

import { PageError } from "../backend";

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
