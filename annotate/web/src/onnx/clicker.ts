/** Finds objects by clicks inside the page, in a worker of its own. */

import type { ImageSource } from "../backend";
import type { Click, Guess } from "../clicks/guess";
import type { Box, Runs } from "../labels/runs";
import type { Sent, WorkerCalls } from "../worker_calls";
import type { Asked, ClickFunctions } from "./click_worker";

export interface Found {
  readonly guess: Guess;
  readonly runs: Runs;
}

export class Clicker {
  /** Id of the image that the worker has. */
  private known: string | null = null;

  constructor(
    private readonly calls: WorkerCalls<ClickFunctions>,
    private readonly folder: URL,
  ) {}

  /** See an image before it is clicked, so that the first click is quick, too. */
  look(image: ImageSource): Promise<void> {
    return this.checked(this.calls.call("look", () => this.asked(image, {})));
  }

  /**
   * The object after one more click.
   *
   * @param onFirst called with a first answer, if the network looks more closely.
   * @throws PageError one sentence that says what is wrong and how to fix it.
   */
  click(image: ImageSource, before: Guess | null, click: Click, onFirst: (found: Found) => void): Promise<Found> {
    return this.checked(this.calls.call("click", () => this.asked(image, { before, click }), onFirst));
  }

  /** The object in a box; fails as `click` does. */
  box(image: ImageSource, box: Box): Promise<Found> {
    return this.checked(this.calls.call("box", () => this.asked(image, { box })));
  }

  private async asked<Question>(image: ImageSource, question: Question): Promise<Sent<Asked & Question>> {
    const pixels = this.known === image.id ? null : await image.pixels();
    this.known = image.id;
    const value = { folder: this.folder.href, image: pixels, ...question };
    return { value, transfer: pixels ? [pixels.data.buffer] : [] };
  }

  /** After a failure it isn't known which image the worker has. */
  private checked<Result>(answer: Promise<Result>): Promise<Result> {
    return answer.catch((error) => {
      this.known = null;
      throw error;
    });
  }
}
