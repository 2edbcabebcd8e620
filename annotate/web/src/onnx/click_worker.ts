/** The thread in which objects are clicked: labeling in another one never keeps a click waiting. */

import { boxed, clicked, type Guess, positiveRuns } from "../clicks/guess";
import { whole } from "../labels/runs";
import { ClickModel } from "./click_model";
import { type ClickReply, type ClickRequest, failedBy } from "./messages";
import { prepareRuntime } from "./runtime";

let model: Promise<ClickModel> | undefined;

self.onmessage = async ({ data }: MessageEvent<ClickRequest>) => {
  try {
    model ??= prepareRuntime().then(() => ClickModel.load(new URL(data.folder)));
    send(await answer(await model, data));
  } catch (error) {
    // what couldn't be loaded is tried again
    if (model && (await model.catch(() => null)) === null) model = undefined;
    send(failedBy(error));
  }
};

function send(reply: ClickReply): void {
  self.postMessage(reply, { transfer: reply.kind === "guessed" ? [reply.runs.buffer] : [] });
}

async function answer(network: ClickModel, { image, question }: ClickRequest): Promise<ClickReply> {
  if (image) network.open(image);
  if (question.kind === "look") {
    await network.look(whole(network.image));
    return { kind: "looked" };
  }
  const guessed = (guess: Guess, isFirst: boolean): ClickReply => {
    return { kind: "guessed", guess, runs: positiveRuns(guess.logits, guess.view, network.image), isFirst };
  };
  if (question.kind === "box") return guessed(await boxed(network, question.box), false);
  const { before, click } = question;
  return guessed(await clicked(network, before, click, (first) => send(guessed(first, true))), false);
}
