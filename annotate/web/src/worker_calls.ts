/** Calls functions in a worker, one after the other. */

import { PageError } from "./backend";

/** What is sent to a worker or back, and which of its memory is handed over instead of copied. */
export interface Sent<Value> {
  readonly value: Value;
  readonly transfer?: Transferable[];
}

/** What a worker offers; `tell` sends news before the result. */
type Functions = Readonly<
  Record<string, (argument: any, tell: (news: Sent<any>) => void) => Sent<unknown> | Promise<Sent<unknown>>>
>;
type ResultOf<One extends Functions[string]> = Awaited<ReturnType<One>>["value"];
type NewsOf<One extends Functions[string]> = Parameters<Parameters<One>[1]>[0]["value"];

interface Call {
  readonly name: string;
  readonly argument: unknown;
}

type Reply =
  | { readonly kind: "news" | "result"; readonly value: never }
  /** `isPlain`: the message is a sentence for the reader of the page. */
  | { readonly kind: "failure"; readonly value: { readonly message: string; readonly isPlain: boolean } };

export function serve(functions: Functions): void {
  self.onmessage = async ({ data: { name, argument } }: MessageEvent<Call>) => {
    const send = (kind: Reply["kind"], { value, transfer = [] }: Sent<unknown>) =>
      self.postMessage({ kind, value }, { transfer });
    try {
      send("result", await functions[name](argument, (news) => send("news", news)));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      send("failure", { value: { message, isPlain: error instanceof PageError } });
    }
  };
}

export class WorkerCalls<Offered extends Functions> {
  private worker: Worker | null = null;
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param script address of the built worker.
   * @param failure the error of one with this message in the worker, unless that is a PageError.
   */
  constructor(
    private readonly script: URL,
    private readonly failure: (message: string) => Error = (message) => new Error(message),
  ) {}

  /** @param argument made once all earlier calls have ended. */
  call<Name extends keyof Offered & string>(
    name: Name,
    argument: () => Promise<Sent<Parameters<Offered[Name]>[0]>>,
    onNews: (news: NewsOf<Offered[Name]>) => void = () => {},
  ): Promise<ResultOf<Offered[Name]>> {
    const result = this.last.then(async () => this.answer(name, await argument(), onNews));
    this.last = result.catch(() => {});
    return result as Promise<ResultOf<Offered[Name]>>;
  }

  private answer(name: string, { value, transfer = [] }: Sent<unknown>, onNews: (news: never) => void) {
    const worker = (this.worker ??= new Worker(this.script, { type: "module" }));
    return new Promise<unknown>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Reply>) => {
        if (data.kind === "news") onNews(data.value);
        else if (data.kind === "result") resolve(data.value);
        else reject(data.value.isPlain ? new PageError(data.value.message) : this.failure(data.value.message));
      };
      worker.onerror = (event) => {
        event.preventDefault();
        this.worker = null;
        reject(new PageError("The page's script couldn't start; use a current browser, and load the page again."));
      };
      worker.postMessage({ name, argument: value } satisfies Call, transfer);
    });
  }
}

export function networkFailure(message: string): PageError {
  return new PageError(`The network failed (${message.split("\n")[0]}); reload the page, or try a smaller image.`);
}
