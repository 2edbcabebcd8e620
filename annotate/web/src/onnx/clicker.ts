/** Finds objects by clicks inside the page, in a worker of its own. */

import type { ImageSource } from "../backend";
import type { Click, Guess } from "../clicks/guess";
import type { Box, Runs } from "../labels/runs";
import { type ClickQuestion, type ClickReply, type ClickRequest, failure, NOT_STARTED } from "./messages";
import { Turns } from "./turns";

/** An object, and its pixels. */
export interface Found {
  readonly guess: Guess;
  readonly runs: Runs;
}

export class Clicker {
  private worker: Worker | null = null;
  private readonly turns = new Turns();
  /** Id of the image that the worker has. */
  private known: string | null = null;

  /**
   * @param script address of the built worker.
   * @param folder address of the network.
   */
  constructor(
    private readonly script: URL,
    private readonly folder: URL,
  ) {}

  /** See an image before it is clicked, so that the first click is quick, too. */
  async look(image: ImageSource): Promise<void> {
    await this.ask(image, { kind: "look" });
  }

  /**
   * The object after one more click.
   *
   * @param onFirst called with a first answer, if the network looks more closely.
   * @throws PageError one sentence that says what is wrong and how to fix it.
   */
  click(image: ImageSource, before: Guess | null, click: Click, onFirst: (found: Found) => void): Promise<Found> {
    return this.found(image, { kind: "click", before, click }, onFirst);
  }

  /** The object in a box; fails as `click` does. */
  box(image: ImageSource, box: Box): Promise<Found> {
    return this.found(image, { kind: "box", box });
  }

  private async found(image: ImageSource, question: ClickQuestion, onFirst?: (found: Found) => void): Promise<Found> {
    const reply = await this.ask(image, question, onFirst);
    if (reply.kind !== "guessed") throw new Error(`unexpected reply: ${reply.kind}`);
    return reply;
  }

  private ask(image: ImageSource, question: ClickQuestion, onFirst?: (found: Found) => void): Promise<ClickReply> {
    return this.turns.take(async () => {
      const pixels = this.known === image.id ? null : await image.pixels();
      try {
        const reply = await this.answer({ folder: this.folder.href, image: pixels, question }, onFirst);
        this.known = image.id;
        return reply;
      } catch (error) {
        this.known = null;
        throw error;
      }
    });
  }

  private answer(request: ClickRequest, onFirst?: (found: Found) => void): Promise<ClickReply> {
    const worker = (this.worker ??= new Worker(this.script, { type: "module" }));
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<ClickReply>) => {
        if (data.kind === "guessed" && data.isFirst) onFirst?.(data);
        else if (data.kind === "failed") reject(failure(data));
        else resolve(data);
      };
      worker.onerror = (event) => {
        event.preventDefault();
        this.worker = null;
        reject(failure(NOT_STARTED));
      };
      worker.postMessage(request, request.image ? [request.image.data.buffer] : []);
    });
  }
}
