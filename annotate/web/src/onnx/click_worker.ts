/** The thread in which objects are clicked: labeling in another one never keeps a click waiting. */

import { expose, transfer } from "comlink";

import type { Pixels } from "../backend";
import { boxed, type Click, clicked, glanced, type Guess, positiveRuns } from "../clicks/guess";
import { type Box, type Size, whole } from "../labels/runs";
import { ClickModel, cut, type ReadPart } from "./click_model";
import type { Found } from "./clicker";
import { prepareRuntime } from "./loading";

let model: Promise<ClickModel> | undefined;

function found({ image }: ClickModel, guess: Guess): Found {
  const runs = positiveRuns(guess.logits, guess.view, image);
  return transfer({ guess, runs }, [runs.buffer]);
}

const functions = {
  /** Open an image, which the other calls are about; of a large one, `read` gives what is looked at. */
  async open(folder: string, id: string, image: Pixels | Size, read: ReadPart): Promise<void> {
    model ??= prepareRuntime().then(() => ClickModel.load(new URL(folder)));
    try {
      (await model).open(id, image, "data" in image ? async (view) => cut(image, view) : read);
    } catch (error) {
      // what couldn't be loaded is tried again
      model = undefined;
      throw error;
    }
  },

  async look(): Promise<void> {
    const network = await model!;
    await network.features(whole(network.image));
  },

  /** What a click would find at first sight; null: the image wasn't looked at yet. */
  async glance(click: Click): Promise<Found | null> {
    const network = await model!;
    return network.knows(whole(network.image)) ? found(network, await glanced(network, click)) : null;
  },

  /** @param onFirst gets a first answer, if the network looks more closely. */
  async click(before: Guess | null, click: Click, onFirst: (first: Found) => void): Promise<Found> {
    const network = await model!;
    return found(network, await clicked(network, before, click, (first) => onFirst(found(network, first))));
  },

  async box(box: Box): Promise<Found> {
    const network = await model!;
    return found(network, await boxed(network, box));
  },
};

export type ClickFunctions = typeof functions;

expose(functions);
