/** Learning from the images that are done: a button, how far it is, and what it gained. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { firstName } from "../labels/synonyms";
import { FEWEST, type Gains } from "../session/improvement";
import { Check } from "./buttons";
import { type Page, percent, plural } from "./page";

/** Images from which on words usually get better. */
const ENOUGH = 5;

export function Improve({ page: { improvement } }: { page: Page }) {
  const finetune = useSignal(false);
  useEffect(() => void improvement.look(), []);
  if (!improvement.isOffered) return null;
  const { value: state } = improvement.state;
  const { all: done, untouched } = improvement.done.value;
  const isRunning = state.kind === "running";

  return (
    <section class="card improve" aria-labelledby="improve">
      <h2 id="improve">Improve</h2>
      <button
        type="button"
        class="wide"
        disabled={isRunning || done < FEWEST}
        onClick={() => void improvement.start(finetune.value)}
      >
        {done ? `Improve with ${plural(done, "done image")}` : "Improve"}
      </button>
      {improvement.canFinetune.value && (
        <Check
          isChecked={finetune.value}
          isDisabled={isRunning}
          onChange={(isChecked) => (finetune.value = isChecked)}
        >
          Fine-tune: takes minutes, and learns from what surrounds a place
        </Check>
      )}
      {untouched > 0 && (
        <p class="help">
          {untouched} of {plural(done, "done image")} {untouched === 1 ? "was" : "were"} never corrected. Scores are
          those of corrected images alone.
        </p>
      )}
      {!isRunning && done < ENOUGH && (
        <p class="help">
          {done < FEWEST
            ? "The model learns your words from images that are done (N); two are the least, and five a good start."
            : "From about five images on, words usually get better."}
        </p>
      )}
      {isRunning && (
        <div class="running">
          <progress aria-label="Improving" max="1" value={state.share} />
          <p class="help">{state.stage ? `${state.stage}: ${percent(state.share)}` : "starting"}</p>
          <button type="button" onClick={() => void improvement.cancel()}>
            Cancel
          </button>
        </div>
      )}
      {state.kind === "failed" && (
        <p class="error" role="alert">
          {state.message}
        </p>
      )}
      {state.kind === "canceled" && <p class="help">It was canceled; nothing has changed.</p>}
      {state.kind === "done" && state.message && <p class="help">{state.message}</p>}
      {state.kind === "done" && state.gains && <Scores gains={state.gains} />}
    </section>
  );
}

function Scores({ gains: { images, before, after, words } }: { gains: Gains }) {
  return (
    <table class="scores">
      <caption>IoU [%] on corrected images that were held out of the {images}</caption>
      <thead>
        <tr>
          <th scope="col">word</th>
          <th scope="col">by text</th>
          <th scope="col">now</th>
        </tr>
      </thead>
      <tbody>
        {words.map(({ name, before, after, keepsText }) => (
          <tr key={name}>
            <th scope="row">{firstName(name)}</th>
            <td>{shown(before)}</td>
            <td>{keepsText ? "keeps its text" : shown(after)}</td>
          </tr>
        ))}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">mean</th>
          <td>{shown(before.miou)}</td>
          <td>{shown(after.miou)}</td>
        </tr>
        <tr>
          <th scope="row">right pixels</th>
          <td>{shown(before.accuracy)}</td>
          <td>{shown(after.accuracy)}</td>
        </tr>
      </tfoot>
    </table>
  );
}

function shown(score: number | null): string {
  return score === null ? "–" : score.toFixed(1);
}
