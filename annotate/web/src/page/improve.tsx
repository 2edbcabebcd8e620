/** Learning from the images that are done: a button, how far it is, and what it gained. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import type { Gains } from "../backend";
import { firstName } from "../labels/synonyms";
import { save } from "../saving/files";
import { FEWEST, IMPROVED } from "../session/improvement";
import { Icon } from "./icons";
import type { Page } from "./page";
import { percent, plural } from "./phrases";

/** Images from which on words usually get better. */
const ENOUGH = 5;

export function Improve({ page }: { page: Page }) {
  const { improvement, session } = page;
  const finetune = useSignal(false);
  const place = session.settings.place.value;
  useEffect(() => void improvement.look(), [place]);
  if (!improvement.isOffered) return null;
  const { value: state } = improvement.state;
  const done = improvement.done.value.length;
  const isRunning = state.kind === "running";
  const file = session.taught.files.value.find(({ name }) => name === IMPROVED);

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
      {improvement.canFinetune.value && place === "service" && (
        <label class="check">
          <input
            type="checkbox"
            checked={finetune.value}
            disabled={isRunning}
            onChange={({ currentTarget }) => (finetune.value = currentTarget.checked)}
          />
          Fine-tune: takes minutes, and learns from what surrounds a place
        </label>
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
          <p class="help">
            {state.stage ? `${state.stage}: ${percent(state.share)}` : "starting"}
          </p>
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
      {file && !isRunning && (
        <button type="button" class="wide" onClick={() => save({ name: IMPROVED, content: new Blob([session.taught.contentOf(file).slice()]) })}>
          <Icon name="save" /> Save the taught words
        </button>
      )}
    </section>
  );
}

function Scores({ gains: { images, before, after, words } }: { gains: Gains }) {
  return (
    <table class="scores">
      <caption>IoU [%] on images that were held out of the {images}</caption>
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
  return score === null || Number.isNaN(score) ? "–" : score.toFixed(1);
}
