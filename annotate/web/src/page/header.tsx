/** The top of the page: where images are labeled, what is saved, exports, and help. */

import type { Place } from "../session/settings";
import { Icon, IconButton, TypedInput } from "./buttons";
import { Dialog } from "./dialog";
import { ExportButton, ExportJobs } from "./export";
import { type Page, plural } from "./page";
import { Refused } from "./refused";
import { KEYS, Shortcuts } from "./stage/keys";
import type { Key } from "./stage/tool";

const PLACES: Readonly<Record<Place, string>> = { browser: "On this device", service: "Service" };

export function Header({ page }: { page: Page }) {
  const { place } = page.session.settings;
  const { help } = page.control;
  return (
    <>
      <header class="top">
        <h1>
          <img src="icon.svg" alt="" />
          <span>segvoc</span>
        </h1>
        {page.session.store.isShared && <span class="project-name">{page.session.name.value}</span>}
        {page.places.length > 1 && (
          <div class="switch" role="radiogroup" aria-label="Where images are labeled">
            {page.places.map((one) => (
              <label key={one}>
                <input type="radio" name="place" checked={place.value === one} onChange={() => (place.value = one)} />
                <span>{PLACES[one]}</span>
              </label>
            ))}
          </div>
        )}
        <SavedState page={page} />
        {page.served && <Refused session={page.session} store={page.served.store} />}
        <span class="gap" />
        {page.served && (
          <label class="user">
            <span>Your name</span>
            <TypedInput
              text={page.served.user.value}
              onTyped={(text) => (page.served!.user.value = text.trim())}
              field={{ type: "text", autocomplete: "name", placeholder: "name" }}
            />
          </label>
        )}
        <ExportButton page={page} />
        <IconButton icon="help" label="Help" onClick={() => (help.value = true)} />
        {help.value && <Help page={page} onClose={() => (help.value = false)} />}
      </header>
      {page.served && <ExportJobs exports={page.served.exports} />}
    </>
  );
}

function Help({ page, onClose }: { page: Page; onClose: () => void }) {
  const { control, session } = page;
  return (
    <Dialog title="Help" onClose={onClose}>
      <div class="column">
        <p>
          Every pixel gets the likeliest of your words. Correct what is wrong with the tools above the image: give a
          whole region another word, or paint with the brush or a polygon.
        </p>
        <p>
          Wheel and two fingers zoom; drag the image to move it.{" "}
          {session.store.isShared
            ? `Work is kept in the folder of the project “${session.name.value}” on the machine that serves this page: labels/ has a PNG label map of each image. What the service doesn't have yet waits in this browser.`
            : "Images, words and corrections stay in this browser until you remove them; “Save project” takes them along."}
        </p>
        <h3>Keys: letters and digits anywhere, all others while the image has the focus</h3>
        <KeyList keys={KEYS} />
        <Shortcuts page={page} />
        <h3>Tools</h3>
        {control.tools.map(({ key, label, help, keys }) => (
          <section key={key} class="tool-help">
            <h4>
              <kbd>{key.toUpperCase()}</kbd> {label}
            </h4>
            <p>{help}</p>
            <KeyList keys={keys} />
          </section>
        ))}
      </div>
    </Dialog>
  );
}

function KeyList({ keys }: { keys: readonly Key[] }) {
  if (!keys.length) return null;
  return (
    <dl class="keys">
      {keys.map(([key, meaning]) => (
        <div key={key}>
          <dt>{key}</dt>
          <dd>{meaning}</dd>
        </div>
      ))}
    </dl>
  );
}

function SavedState({ page: { session } }: { page: Page }) {
  const { store, writer } = session;
  const waiting = store.waiting.value;
  const state = writer.pending.value > 0 ? "saving" : waiting ? "waiting" : "saved";
  const isAway = waiting > 0 && store.isAway.value;
  const mayLook = "Your key may look, and change nothing";
  if (!store.may("annotate"))
    return (
      <span class="saved away" title={mayLook}>
        <span>{mayLook}</span>
      </span>
    );
  const waits = `${plural(waiting, "change")} ${waiting === 1 ? "waits" : "wait"} for the service`;
  return (
    <span class={isAway ? "saved away" : "saved"} data-state={state}>
      {state === "saved" && <Icon name="done" />}
      <span>{state === "saved" ? "All changes are saved" : state === "waiting" && isAway ? waits : "Saving…"}</span>
    </span>
  );
}
