/** Finds objects by clicks inside the page, in a worker of its own. */

import { proxy, type Remote, transfer } from "comlink";

import type { ImageSource } from "../backend";
import type { Click, Guess } from "../clicks/guess";
import { TILED_PIXELS } from "../imaging/picture";
import type { Box, Runs, Size } from "../labels/runs";
import type { WorkerCalls } from "../worker_calls";
import type { ClickFunctions } from "./click_worker";

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

  /** See an image before it is clicked, so that the first click is quick, too; and then the one that comes next. */
  async look(image: ImageSource, next?: ImageSource): Promise<void> {
    await this.ask(image, (worker) => worker.look());
    if (!next) return;
    // what fails there is told when it is clicked
    await this.ask(next, (worker) => worker.look()).catch(() => {});
    await this.ask(image, (worker) => worker.look());
  }

  /** What a click would find at first sight; null: the image wasn't looked at yet. Fails as `click` does. */
  glance(image: ImageSource, click: Click): Promise<Found | null> {
    return this.ask(image, (worker) => worker.glance(click));
  }

  /**
   * The object after one more click.
   *
   * @param onFirst called with a first answer, if the network looks more closely.
   * @throws PageError one sentence that says what is wrong and how to fix it.
   */
  click(image: ImageSource, before: Guess | null, click: Click, onFirst: (found: Found) => void): Promise<Found> {
    return this.ask(image, (worker) => worker.click(before, click, proxy(onFirst)));
  }

  /** The object in a box; fails as `click` does. */
  box(image: ImageSource, box: Box): Promise<Found> {
    return this.ask(image, (worker) => worker.box(box));
  }

  private async open(image: ImageSource, worker: Remote<ClickFunctions>): Promise<void> {
    const { width, height } = image;
    const read = proxy(async (view: Box, least: Size) => {
      const part = await image.part(view, least);
      return transfer(part, [part.data.buffer]);
    });
    if (width * height > TILED_PIXELS) return worker.open(this.folder.href, image.id, { width, height }, read);
    const pixels = await image.pixels();
    await worker.open(this.folder.href, image.id, transfer(pixels, [pixels.data.buffer]), read);
  }

  private async ask<Result>(image: ImageSource, act: (worker: Remote<ClickFunctions>) => Promise<Result>): Promise<Result> {
    try {
      return await this.calls.call(async (worker) => {
        if (this.known !== image.id) await this.open(image, worker);
        this.known = image.id;
        return act(worker);
      });
    } catch (error) {
      // which image the worker has isn't known any more
      this.known = null;
      throw error;
    }
  }
}
