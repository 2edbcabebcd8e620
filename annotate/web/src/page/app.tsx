/** The page: images and words in, the overlay, its legend and files out. */

import { useSignal } from "@preact/signals";
import type { TargetedEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { drawnColors, drawnLabels, overlay } from "../imaging/overlay";
import { labelingOf } from "../project/keeping";
import type { Work } from "../project/structure";
import { carriedFrom } from "../project/work_file";
import type { Session } from "../session/session";
import { contextOf, lookFor, type Theme } from "../session/settings";
import type { ConflictQuestion } from "../session/watching";
import { withWords, wordsOfFile } from "../words/list";
import { Button, Check, FileButton, IconButton, Select, TextForm, Toggle, TypedInput } from "./buttons";
import { KeyForm } from "./closed";
import { Dialog } from "./dialog";
import { Header } from "./header";
import { Improve } from "./improve";
import { placeInVideo, type Page, plural } from "./page";
import { pressAnywhere } from "./stage/keys";
import { Stage, Toolbar, Zoom } from "./stage/stage";
import { OpenProject, reviewText, Strip } from "./strip";
import { PartsField, TaughtField, WordsField } from "./words_card";

export function App({ page }: { page: Page }) {
  const { session, control, labeler } = page;
  const isOver = useDroppedAndPasted(page);
  const { value: theme } = session.settings.theme;
  const image = session.current.value;
  /** Whether the last key may step through a closed menu, which keeps the focus for the next one. */
  const isStepping = useRef(false);

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
      {page.dialog.value?.(() => (page.dialog.value = null))}
      {session.offeredVideo.value && <VideoDialog session={session} file={session.offeredVideo.value} />}
      {session.conflict.value && <ConflictDialog page={page} question={session.conflict.value} />}
      <main>
        <section
          class="work"
          aria-label="Image"
          onClick={(event) => event.detail > 0 && isIn(event, "button") && returnToStage(event)}
          onPointerDown={() => (isStepping.current = false)}
          onKeyDown={({ altKey, key }) => (isStepping.current = !altKey && key !== " " && key !== "Enter")}
          onChange={(event) => !isStepping.current && isIn(event, ".options select") && returnToStage(event)}
        >
          {image && (
            <>
              <Title page={page} />
              <Toolbar page={page} />
              <Stage page={page} image={image} />
            </>
          )}
          {!image && (session.items.value.length ? <div class="stage" style="--shape: 1.5" /> : <Welcome page={page} />)}
          <Strip page={page} />
        </section>
        <div class="side">
          <section class="card" aria-label="Words">
            {labeler.needsKey.value && <KeyForm onKey={page.useKey} />}
            <WordsField page={page} />
            <PartsField page={page} />
            <TaughtField page={page} />
            <Status page={page} />
          </section>
          <section class="card" aria-label="Display">
            <ViewPanel page={page} />
          </section>
          <section class="card" aria-labelledby="unsure">
            <UnsurePanel page={page} />
          </section>
          {page.served && <Improve improvement={page.served.improvement} />}
        </div>
      </main>
    </div>
  );
}

function isIn({ target }: Event, selector: string): boolean {
  return (target as Element).closest(selector) !== null;
}

/** After a button was clicked with the mouse, or something chosen from a menu of the tool, keys act on the image again. */
function returnToStage({ currentTarget }: TargetedEvent<HTMLElement>): void {
  currentTarget.querySelector<HTMLElement>(".stage")?.focus({ preventScroll: true });
}

/** The open image's name, its place in the strip, how near it is looked at, and what its reviewer said. */
function Title({ page: { control, session } }: { page: Page }) {
  const listed = session.listing.listed.value;
  const item = session.chosen.value;
  const state = item?.summary.value,
    review = state?.review,
    from = state && !state.done && !state.corrected && session.items.value.find(({ id }) => id === carriedFrom(state));
  const go = (place: string) => {
    const chosen = listed[Math.max(1, Math.min(listed.length, Math.round(Number(place)))) - 1];
    if (chosen) void session.open(chosen);
  };
  return (
    <>
      <div class="title">
        <strong title={item?.name}>{item?.name}</strong>
        {state?.frame && <span>{placeInVideo(state.frame)}</span>}
        <label>
          <span class="hidden">Go to image</span>
          <TypedInput text={String(listed.indexOf(item!) + 1)} onTyped={go} field={{ type: "number", min: 1, max: listed.length }} />
          of {listed.length}
        </label>
        <Zoom control={control} />
      </div>
      {review?.verdict === "sent back" && <p class="review error">{reviewText(review)}</p>}
      {from && (
        <p class="review">
          A draft: words and objects are taken over from another frame ({placeInVideo(from.summary.value.frame!)}), which is done.
        </p>
      )}
    </>
  );
}

/** Asks how many frames of a video are added. */
function VideoDialog({ session, file }: { session: Session; file: File }) {
  const close = () => (session.offeredVideo.value = null);
  const every = useSignal("10");
  return (
    <Dialog title={`Add frames of “${file.name}”`} onClose={close}>
      <TextForm
        label="Distance of the frames (1: all)"
        submit="Add them"
        text={every}
        field={{ type: "number", min: 1, required: true, autofocus: true }}
        onSubmit={(text) => (close(), void session.addVideo(file, Number(text)))}
      />
    </Dialog>
  );
}

function Welcome({ page: { session } }: { page: Page }) {
  return (
    <div class="welcome">
      <h2>Label every pixel with words of your own</h2>
      <p>Drop images here, or paste one.</p>
      <div class="row">
        <FileButton label="Choose images" isPrimary accept={session.accepted} onFiles={(files) => void session.add(files)} />
        <Button text="Try an example" onClick={() => session.addExample()} />
        <OpenProject session={session} />
      </div>
      <p class="help">
        {session.settings.place.value === "service"
          ? "Images are sent to the service that this page comes from, and nowhere else."
          : "Images stay on this device."}
      </p>
    </div>
  );
}

function Status({ page: { session, labeler } }: { page: Page }) {
  const model = session.model.value,
    problem = session.problem.value;
  const failed = session.current.value?.item.state.value;
  const message = problem ?? (failed?.kind === "failed" ? failed.message : null);
  const [dismissed, setDismissed] = useState<string | null>(null);
  const dismiss = () => {
    setDismissed(message);
    session.problem.value = null;
  };
  useEffect(() => void (message || setDismissed(null)), [message]);
  return (
    <>
      {message && message !== dismissed && (
        <div class="row">
          <p class="error" role="alert">
            {message}
          </p>
          <IconButton icon="close" label="Dismiss this message" onClick={dismiss} />
        </div>
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
  const { width, height, words, seconds, model: name } = image.draft.value!;
  return `${name || "The model"} labeled ${width} × ${height} pixels with ${plural(words.length, "word")}${seconds ? ` in ${seconds.toFixed(1)} s` : ""} ${model.place}.`;
}

/** How the result is shown, to this reader alone. */
function ViewPanel({ page }: { page: Page }) {
  const { opacity, hasNames, theme } = page.session.settings;
  return (
    <div class="column">
      <Slider label="Opacity of the colors" value={opacity.value} onChange={(value) => (opacity.value = value)} />
      <Toggle text="Names in the regions" value={hasNames} />
      <label class="heading">
        <span>Page colors</span>
        <Select label="Page colors" options={THEMES} value={theme.value} onChange={(value) => (theme.value = value)} />
      </label>
    </div>
  );
}

/** Which pixels keep their word, in all of the project; the model isn't asked again. */
function UnsurePanel({ page: { session } }: { page: Page }) {
  const { rule } = session.settings;
  const [name, setName] = useState(rule.value.background ?? "background");
  const { threshold, background } = rule.value;

  return (
    <div class="column">
      <h2 id="unsure">{session.store.isShared ? "Unsure pixels, for everybody" : "Unsure pixels"}</h2>
      <p class="help">Pixels below this confidence lose their word, in all images that aren't done.</p>
      <Slider
        label="Least confidence"
        value={threshold}
        onChange={(value) => (rule.value = { threshold: value, background })}
      />
      <Check
        isChecked={background !== null}
        onChange={(isChecked) =>
          (rule.value = { threshold: isChecked && !threshold ? 0.5 : threshold, background: isChecked ? name : null })
        }
      >
        Pixels below it are background
      </Check>
      {background !== null && (
        <label class="field">
          Name of the background
          <input
            type="text"
            value={name}
            onInput={({ currentTarget: { value } }) => {
              setName(value);
              if (value.trim()) session.nameBackground(value.trim());
            }}
          />
        </label>
      )}
    </div>
  );
}

const THEMES: readonly (readonly [Theme, string])[] = [
  ["system", "as the system"],
  ["light", "light"],
  ["dark", "dark"],
];

function Slider({ label, value, onChange }: { label: string; value: number; onChange: (value: number) => void }) {
  return (
    <label class="slider">
      <span>{label}</span>
      <span class="value">{Math.round(100 * value)} %</span>
      <input
        type="range"
        min="0"
        max="100"
        value={Math.round(100 * value)}
        onInput={(event) => onChange(Number(event.currentTarget.value) / 100)}
      />
    </label>
  );
}

/** Files with words: one in each line, or a JSON list. */
const LISTS = /\.(txt|json)$/i;
const TAUGHT = /\.safetensors$/i;
const ZIP = /\.zip$/i;

/** Takes what is dropped and pasted; true while a file is dragged over the page. */
function useDroppedAndPasted(page: Page): boolean {
  const [isOver, setOver] = useState(false);

  useEffect(() => {
    const ending = new AbortController();
    const on = <Kind extends keyof WindowEventMap>(kind: Kind, act: (event: WindowEventMap[Kind]) => void) =>
      addEventListener(kind, act, { signal: ending.signal });
    on("paste", (event) => void (take(page, event.clipboardData) && event.preventDefault()));
    on("drop", (event) => {
      event.preventDefault();
      setOver(false);
      if (!take(page, event.dataTransfer)) page.session.problem.value = "That was no file; drop images from a folder.";
    });
    on("dragover", (event) => {
      event.preventDefault();
      setOver(true);
    });
    on("dragleave", (event) => event.relatedTarget || setOver(false));
    return () => ending.abort();
  }, []);

  return isOver;
}

/** Take the files of a drop or paste; false: it has none. */
function take({ session, labeler }: Page, data: DataTransfer | null): boolean {
  const files = [...(data?.files ?? [])];
  const lists = files.filter(({ name }) => LISTS.test(name));
  for (const list of lists) void list.text().then((text) => addWords(session, list.name, text));
  const taught = files.filter(({ name }) => TAUGHT.test(name));
  if (taught.length) void labeler.teach(taught);
  const project = files.find(({ name }) => ZIP.test(name));
  if (project) session.offered.value = project;
  const images = files.filter((file) => !lists.includes(file) && !taught.includes(file) && file !== project);
  if (images.length) void session.add(images);
  return files.length > 0;
}

function addWords({ problem, settings }: Session, name: string, text: string): void {
  const added = wordsOfFile(name, text);
  if (!added.length) {
    problem.value = `“${name}” has no list of words; write one in each line.`;
    return;
  }
  const { words: all, note } = withWords(settings.words.value, added);
  lookFor(settings, all);
  problem.value = note;
}

export function ConflictDialog({ page, question: { conflict, answer } }: { page: Page; question: ConflictQuestion }) {
  const { by, id, isDone } = conflict;
  const other = by ?? "Somebody",
    name = page.session.items.value.find((item) => item.id === id)?.name;
  return (
    <Dialog title="Two versions of this image" onClose={() => answer("both")}>
      <p>
        {isDone ? `${other} marked “${name}” as done meanwhile.` : `${other} painted the same pixels of “${name}” meanwhile.`}{" "}
        Nothing is lost yet: choose what holds.
      </p>
      <div class="versions">
        <Version page={page} id={id} work={conflict.mine} title="Mine" />
        <Version page={page} id={id} work={conflict.theirs} title={by ? `${by}'s version` : "The other version"} />
      </div>
      <div class="column">
        <Button text="Combine (mine on top)" kind="primary" onClick={() => answer("both")} />
        <Button text="Keep mine" onClick={() => answer("mine")} />
        <Button text={by ? `Take ${by}'s` : "Take the other"} onClick={() => answer("theirs")} />
      </div>
    </Dialog>
  );
}

function Version({ page: { session }, id, work, title }: { page: Page; id: string; work: Work; title: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const item = session.items.value.find((one) => one.id === id);
    const draw = async () => {
      if (!item) return;
      const labeling = labelingOf(item, work, contextOf(session.settings));
      const drawn = overlay(await item.pixels(), drawnLabels(labeling), drawnColors(labeling), 0.6);
      Object.assign(canvas.current!, { width: item.width, height: item.height });
      canvas.current!.getContext("2d")!.putImageData(new ImageData(drawn, item.width, item.height), 0, 0);
    };
    void draw();
  }, []);
  return (
    <figure>
      <canvas ref={canvas} role="img" aria-label={title} />
      <figcaption>{title}</figcaption>
    </figure>
  );
}
