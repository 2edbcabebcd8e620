/** The page: images and words in, the overlay, its legend and files out. */

import type { TargetedMouseEvent } from "preact";
import { useEffect } from "preact/hooks";

import { AddImages } from "./add_images";
import { ConflictDialog } from "./conflict_dialog";
import { Downloads } from "./downloads";
import { Header } from "./header";
import { Improve } from "./improve";
import { useDroppedAndPasted } from "./incoming";
import { KeyForm } from "./key_form";
import { Legend } from "./legend";
import type { Page } from "./page";
import { plural } from "./phrases";
import { PartsField } from "./parts_field";
import { ProjectPanel } from "./project_panel";
import { pressAnywhere } from "./stage/keys";
import { Stage } from "./stage/stage";
import { Toolbar } from "./stage/toolbar";
import { Strip } from "./strip";
import { TaughtField } from "./taught_field";
import { ViewPanel } from "./view_panel";
import { WordsField } from "./words_field";

export function App({ page }: { page: Page }) {
  const { session, control, labeler } = page;
  const isOver = useDroppedAndPasted(page);
  const { value: theme } = session.settings.theme;
  const image = session.current.value;

  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  useEffect(() => {
    const press = (event: KeyboardEvent) => pressAnywhere(control, event) && event.preventDefault();
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);

  return (
    <div class={isOver ? "page over" : "page"}>
      <Header page={page} />
      {session.conflict.value && <ConflictDialog page={page} asked={session.conflict.value} />}
      <main>
        <div class="side">
          <section class="card" aria-label="Words">
            {labeler.needsKey.value && <KeyForm onKey={page.useKey} />}
            <WordsField page={page} />
            <PartsField page={page} />
            <TaughtField page={page} />
            <Status page={page} />
          </section>
          <section class="card settings" aria-label="Display">
            <ViewPanel page={page} />
          </section>
        </div>
        <section class="work" aria-label="Image" onClick={returnToStage}>
          {image ? (
            <>
              <Toolbar page={page} />
              <Stage page={page} image={image} />
            </>
          ) : (
            <Welcome page={page} />
          )}
          <Strip page={page} />
        </section>
        <div class="side results">
          <section class="card" aria-labelledby="legend">
            <h2 id="legend">What is where</h2>
            <Legend page={page} />
          </section>
          <Improve page={page} />
          <section class="card" aria-labelledby="save">
            <h2 id="save">Save</h2>
            <Downloads page={page} />
            <ProjectPanel page={page} />
          </section>
        </div>
      </main>
    </div>
  );
}

/** After a button was clicked with the mouse, keys act on the image again. */
function returnToStage({ target, detail, currentTarget }: TargetedMouseEvent<HTMLElement>): void {
  const isClick = detail > 0 && (target as Element).closest("button") !== null;
  if (isClick) currentTarget.querySelector<HTMLElement>(".stage")?.focus({ preventScroll: true });
}

function Welcome({ page }: { page: Page }) {
  return (
    <div class="welcome">
      <h2>Label every pixel with words of your own</h2>
      <p>Drop images here, or paste one.</p>
      <div class="row">
        <AddImages page={page} />
      </div>
      <p class="help">
        {page.session.settings.place.value === "service"
          ? "Images are sent to the service that this page comes from, and nowhere else."
          : "Images stay on this device."}
      </p>
    </div>
  );
}

/** What goes on, and what went wrong. */
function Status({ page: { session, labeler } }: { page: Page }) {
  const model = session.model.value,
    problem = session.problem.value;
  const failed = session.current.value?.item.state.value;
  const told = problem ?? (failed?.kind === "failed" ? failed.message : null);
  return (
    <>
      {told && (
        <p class="error" role="alert">
          {told}
        </p>
      )}
      <p role="status" class="status">
        {status({ session, labeler })}
      </p>
      {!model && !problem && <progress aria-label="Loading the model" max="1" value={labeler.loaded.value} />}
    </>
  );
}

function status({ session, labeler }: Pick<Page, "session" | "labeler">): string {
  const model = session.model.value,
    image = session.current.value;
  if (!model) return session.problem.value ? "" : `Loading the model: ${Math.floor(100 * labeler.loaded.value)} %`;
  if (!image) return "The model is ready: choose an image.";
  if (!session.settings.words.value.length) return "Type what to look for.";
  if (!labeler.isLabeled(image.item)) return image.item.state.value.kind === "failed" ? "" : "Labeling the image…";
  const { width, height, words, seconds, model: name } = image.found.value!;
  return `${name} labeled ${width} × ${height} pixels with ${plural(words.length, "word")}${seconds ? ` in ${seconds.toFixed(1)} s` : ""} ${model.place}.`;
}
