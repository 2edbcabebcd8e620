/** Calls functions in a worker, one after the other. */

import { type Remote, wrap } from "comlink";

import { PageError, TransientError } from "./backend";

export class WorkerCalls<Offered> {
  private opened: { readonly worker: Worker; readonly functions: Remote<Offered> } | null = null;
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param script address of the built worker.
   * @param failure the error of one with this message in the worker, unless that is a PageError.
   */
  constructor(
    private readonly script: URL,
    private readonly failure: (message: string) => Error = (message) => new Error(message),
  ) {}

  /** @param act begins once all earlier calls have ended. */
  call<Result>(act: (functions: Remote<Offered>) => Promise<Result>): Promise<Result> {
    const result = this.last.then(() => this.answer(act));
    this.last = result.catch(() => {});
    return result;
  }

  private async answer<Result>(act: (functions: Remote<Offered>) => Promise<Result>): Promise<Result> {
    if (!this.opened) {
      const worker = new Worker(this.script, { type: "module" });
      this.opened = { worker, functions: wrap<Offered>(worker) };
    }
    const { worker, functions } = this.opened;
    const broken = new Promise<never>((_, reject) => {
      worker.onerror = (event) => {
        event.preventDefault();
        this.opened = null;
        // without a message it wasn't loaded: its server may be away
        const isLoaded = event instanceof ErrorEvent;
        const Failure = isLoaded ? PageError : TransientError;
        const advice = isLoaded ? "use a current browser, and load the page again" : "it is asked for again by itself";
        reject(new Failure(`The page's script couldn't start; ${advice}.`));
      };
    });
    return Promise.race([act(functions), broken]).catch((error: Error) => {
      if (error instanceof PageError) throw error;
      throw error.name === "PageError" ? new PageError(error.message) : this.failure(error.message);
    });
  }
}

export function networkFailure(message: string): PageError {
  return new PageError(`The network failed (${message.split("\n")[0]}); reload the page, or try a smaller image.`);
}
