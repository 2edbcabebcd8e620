/** One task of teaching, as the worker has it: the page gives it images, and may end it. */

import type { Improved } from "../backend";
import { pauses } from "../teaching/pause";
import { teach, type LabeledImages, type TeachableModel } from "../teaching/teach";
import type { Reply, Request } from "./messages";

type Distributed<Union> = Union extends unknown ? Omit<Union, "task"> : never;
type Example = Awaited<ReturnType<LabeledImages["read"]>>;

export class LearningTask {
  private readonly ending = new AbortController();
  private take: (example: Example) => void = () => {};

  constructor(
    private readonly asked: Request & { kind: "improve" },
    private readonly send: (reply: Distributed<Reply>) => void,
  ) {}

  learn(model: TeachableModel): Promise<Improved> {
    const { words, synonyms, count } = this.asked;
    const { signal } = this.ending;
    const read = (index: number) =>
      new Promise<Example>((resolve, reject) => {
        this.take = resolve;
        signal.addEventListener("abort", () => reject(signal.reason));
        this.send({ kind: "wants", index });
      });
    const images = { words, synonyms, count, read };
    return teach(model, images, (stage, done, total) => this.send({ kind: "step", stage, done, total }), pauses(signal));
  }

  give(example: Example): void {
    this.take(example);
  }

  cancel(): void {
    this.ending.abort();
  }
}
