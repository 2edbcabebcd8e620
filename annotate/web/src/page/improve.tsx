/** Learning from the images that are done: a button, how far it is, and what it gained. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { firstName } from "../labels/synonyms";
import { FEWEST, type Improvement, type ImprovementProgress } from "../session/improvement";
import { Button, Check, Table } from "./buttons";
import { percent, plural } from "./page";

/** Images from which on words usually get better. */
const ENOUGH = 5;

export function Improve({ improvement }: { improvement: Improvement }) {
  const finetune = useSignal(false);
  useEffect(() => void improvement.look(), []);
  if (!improvement.isOffered) return null;
  const progress = improvement.progress.value;
  const { state, stage, message, scores } = progress;
  const { all: done, untouched } = improvement.done.value;
  const isRunning = state === "running";

  return (
    <section class="card improve" aria-labelledby="improve">
      <h2 id="improve">Improve</h2>
      <Button
        text={done ? `Improve with ${plural(done, "done image")}` : "Improve"}
        kind="wide"
        reason={isRunning ? "It is learning already" : done < FEWEST ? `${FEWEST} images have to be done first` : null}
        onClick={() => improvement.start(finetune.value)}
      />
      {progress.can_finetune && (
        <Check isChecked={finetune.value} isDisabled={isRunning} onChange={(isChecked) => (finetune.value = isChecked)}>
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
            ? "The model learns your words from images that are done (N); at least two; five or more work better."
            : "From about five images on, words usually get better."}
        </p>
      )}
      {isRunning && (
        <div class="running">
          <progress aria-label="Improving" max="1" value={progress.share ?? 0} />
          <p class="help">{stage ? `${stage}: ${percent(progress.share ?? 0)}` : "starting"}</p>
          <Button text="Cancel" onClick={() => improvement.cancel()} />
        </div>
      )}
      {state === "failed" && (
        <p class="error" role="alert">
          {message ?? "It failed; the service's log has the reason."}
        </p>
      )}
      {state === "canceled" && <p class="help">It was canceled; nothing has changed.</p>}
      {state === "done" && message && <p class="help">{message}</p>}
      {state === "done" && scores && <Scores images={progress.images ?? 0} scores={scores} />}
    </section>
  );
}

function Scores({ images, scores }: { images: number; scores: NonNullable<ImprovementProgress["scores"]> }) {
  const { before, after, keep_text } = scores;
  const rows = Object.entries(before.words).map(([name, score]) => {
    const now = keep_text.includes(name) ? "unchanged" : shown(after.words[name] ?? null);
    return [firstName(name), shown(score), now];
  });
  rows.push(["mean", shown(before.miou), shown(after.miou)], ["right pixels", shown(before.accuracy), shown(after.accuracy)]);
  return (
    <>
      <Table label={`IoU [%] on corrected images that were held out of the ${images}`} hasCaption head={["word", "by text", "now"]} rows={rows} />
      {keep_text.length > 0 && <p class="help">Unchanged are words that examples made worse: their text alone counts.</p>}
    </>
  );
}

function shown(score: number | null): string {
  return score === null ? "–" : score.toFixed(1);
}
