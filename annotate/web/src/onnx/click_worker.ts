/** The thread in which objects are clicked: labeling in another one never keeps a click waiting. */

import { expose, transfer } from "comlink";

import type { Pixels } from "../backend";
import { boxed, type Click, clicked, type Guess, positiveRuns } from "../clicks/guess";
import { type Box, whole } from "../labels/runs";
import { ClickModel } from "./click_model";
import type { Found } from "./clicker";
import { prepareRuntime } from "./loading";

export interface ClickRequest {
  readonly folder: string;
  /** null: the image of the last call. */
  readonly image: Pixels | null;
}

let model: Promise<ClickModel> | undefined;

async function opened({ folder, image }: ClickRequest): Promise<ClickModel> {
  model ??= prepareRuntime().then(() => ClickModel.load(new URL(folder)));
  try {
    const network = await model;
    if (image) network.open(image);
    return network;
  } catch (error) {
    // what couldn't be loaded is tried again
    model = undefined;
    throw error;
  }
}

function found({ image }: ClickModel, guess: Guess): Found {
  const runs = positiveRuns(guess.logits, guess.view, image);
  return transfer({ guess, runs }, [runs.buffer]);
}

const functions = {
  async look(request: ClickRequest): Promise<void> {
    const network = await opened(request);
    await network.features(whole(network.image));
  },

  /** @param onFirst gets a first answer, if the network looks more closely. */
  async click(request: ClickRequest, before: Guess | null, click: Click, onFirst: (first: Found) => void): Promise<Found> {
    const network = await opened(request);
    return found(network, await clicked(network, before, click, (first) => onFirst(found(network, first))));
  },

  async box(request: ClickRequest, box: Box): Promise<Found> {
    const network = await opened(request);
    return found(network, await boxed(network, box));
  },
};

export type ClickFunctions = typeof functions;

expose(functions);
