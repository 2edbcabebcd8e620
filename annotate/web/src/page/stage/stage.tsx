/** The image with its labels, its toolbar, and everything that is done on it. */

import { computed, effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { namePlaces } from "../../imaging/names";
import { drawnLabel } from "../../imaging/overlay";
import { type Labeling, NONE } from "../../labels/labeling";
import { grown } from "../../labels/runs";
import { firstName } from "../../labels/synonyms";
import { lookedFor } from "../../project/words";
import type { OpenImage } from "../../session/open_image";
import { progressOf } from "../../session/listing";
import type { Session } from "../../session/session";
import { Button, HoldButton, IconButton, Swatch } from "../buttons";
import type { Page } from "../page";
import type { StageControl } from "./control";
import { pressStage, TOGETHER } from "./keys";
import { toStage } from "./navigation";
import { draw, Layers, shownColors, visiblePart } from "./painter";
import { listen } from "./pointers";
import { WordFinder } from "./word_choice";

export function Stage({ page, image }: { page: Page; image: OpenImage }) {
  const { control } = page;
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const ending = new AbortController();
    listen(canvas.current!, control, ending.signal);
    const observer = new ResizeObserver(([{ contentRect }]) => control.resize(contentRect));
    observer.observe(frame.current!);
    return () => {
      ending.abort();
      observer.disconnect();
    };
  }, []);
  useEffect(() => drawing(canvas.current!, control, image), [image]);

  const { value: state } = image.item.state;
  const tool = control.tool.value;
  return (
    <div
      ref={frame}
      class={`stage ${control.isMoving.value ? "grab" : tool.pointer}${control.isFitted.value ? " fitted" : ""}`}
      role="application"
      tabIndex={0}
      aria-label={`${image.item.name}: arrow keys read it, a question mark lists all keys`}
      // a phone gives an image the height that it needs
      style={{ "--shape": image.item.width / image.item.height }}
      aria-busy={state.kind === "running"}
      onKeyDown={(event) => {
        if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
        if (pressStage(control, event)) event.preventDefault();
      }}
      onBlur={() => (control.cursor.value = null)}
    >
      <canvas ref={canvas} />
      {state.kind === "running" && <span class="working" />}
      <Reading control={control} image={image} />
      <Typed control={control} />
      <div class="message" role="status">
        {tool.message?.() || <Finished session={control.session} />}
      </div>
      {control.isFinding.value && <WordFinder page={page} />}
      {frame.current && tool.panel?.(frame.current.getBoundingClientRect())}
    </div>
  );
}

/** How long it is offered to take back that an image is done [ms]. */
const OFFERED = 8000;

function Finished({ session }: { session: Session }) {
  const item = session.finished.value;
  useEffect(() => {
    if (!item) return;
    const timer = setTimeout(() => (session.finished.value = null), OFFERED);
    return () => clearTimeout(timer);
  }, [item]);
  if (!item || progressOf(item.summary.value) !== "done") return null;
  return (
    <>
      {item.name} is done. <Button text="Undo" kind="link" onClick={() => session.takeBackFinish()} />
    </>
  );
}

export function Zoom({ control }: { control: StageControl }) {
  return (
    <div class="zoom" role="group" aria-label="Zoom">
      <IconButton icon="minus" label="Zoom out" onClick={() => control.zoom(1 / 1.5)} />
      <IconButton icon="fit" label="Show all of the image" onClick={() => control.fit()} />
      <IconButton icon="plus" label="Zoom in" onClick={() => control.zoom(1.5)} />
    </div>
  );
}

/** The number of a word while it is typed, and the word that it chooses so far. */
function Typed({ control }: { control: StageControl }) {
  const typed = control.typed.value;
  useEffect(() => {
    if (!typed) return;
    const timer = setTimeout(() => (control.typed.value = null), TOGETHER);
    return () => clearTimeout(timer);
  }, [typed]);
  if (!typed) return null;
  const words = lookedFor(control.session.settings.vocabulary.value),
    word = words[Number(typed.digits) - 1];
  return (
    <output class="typed">
      <kbd>
        {typed.digits}
        {10 * Number(typed.digits) <= words.length && "_"}
      </kbd>
      {word && (
        <>
          <Swatch color={word.color} />
          {firstName(word.name)}
        </>
      )}
    </output>
  );
}

/** Pixels of the screen for one of the labels from which on these are drawn closely. */
const CLOSE = 1.5;

/** What is drawn closely around what is seen, so that it can be moved [CSS px]. */
const ROOM = 200;

/** Draw the image whenever something changes that is seen; returns how to stop. */
function drawing(canvas: HTMLCanvasElement, control: StageControl, image: OpenImage): () => void {
  const { session } = control;
  const context = canvas.getContext("2d")!;
  const all = new Layers(image.item);
  /** Of what is looked at closely, where a pixel of all would be several of the screen; null: it isn't. */
  let near: Layers | null = null;
  const look = (labeling: Labeling): Layers => {
    const view = control.view.peek(),
      stage = control.size.peek();
    if (all.pixel.width * view.scale * devicePixelRatio < CLOSE || all.pixel.width === 1) return all;
    const seen = visiblePart({ image: image.item, view }, stage);
    const isIn = near && seen.left >= near.area.left && seen.top >= near.area.top && seen.right <= near.area.right && seen.bottom <= near.area.bottom;
    if (near && isIn && (near.pixel.width === 1 || near.pixel.width * view.scale * devicePixelRatio < CLOSE)) return near;
    near = new Layers(image.item, undefined, grown(seen, Math.round(ROOM / view.scale), image.item));
    near.repaint((pixel) => drawnLabel(labeling, pixel), shownColors(labeling, shown.peek()));
    return near;
  };
  const places = computed(() => {
    void image.finished.value;
    const { value: labeling } = image.labeling;
    return labeling ? namePlaces(labeling.labels, labeling, NONE) : [];
  });
  const shown = computed(() => session.visible(image.labeling.value ?? { words: [] }));
  /** What everything was painted for the last time. */
  let painted: readonly unknown[] = [];
  let frame = 0;

  const paint = () => {
    frame = 0;
    // another image is open now
    if (image.picture.isClosed) return;
    const labeling = image.labeling.peek(),
      box = image.takeChanged();
    const wanted = [labeling, shown.peek()];
    if (labeling && wanted.some((one, at) => one !== painted[at])) {
      near = null;
      all.repaint((pixel) => drawnLabel(labeling, pixel), shownColors(labeling, shown.peek()));
    } else if (box) for (const one of [all, near]) one?.update(box);
    painted = wanted;
    const density = devicePixelRatio,
      stage = control.size.peek();
    const [width, height] = [Math.round(stage.width * density), Math.round(stage.height * density)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const names = (id: number) => (shown.peek()(id) ? firstName(labeling!.word(id).name) : null);
    const layers = labeling ? look(labeling) : all;
    const labels = { layers, places: session.settings.hasNames.peek() ? places.peek() : [], names };
    draw(context, control, image.picture, labeling && !control.isBare.peek() ? labels : null, density);
  };

  const stop = effect(() => {
    const { opacity, hasNames } = session.settings;
    const { view, size, isBare, color, cursor, tool } = control;
    const { radius, seen: drawn } = tool.value;
    const { painted: counted, finished, labeling } = image;
    const ofStage = [view, size, isBare, color, cursor, ...(radius ? [radius] : []), ...drawn];
    for (const one of [opacity, hasNames, ...ofStage, image.picture.loaded, counted, finished, labeling, places, shown]) void one.value;
    // drawn when the browser is ready, so that what moves fast doesn't queue up
    frame ||= requestAnimationFrame(paint);
  });
  return () => {
    stop();
    cancelAnimationFrame(frame);
  };
}

function Reading({ control, image }: { control: StageControl; image: OpenImage }) {
  const labeling = image.labeling.value,
    pixel = control.pixel.value,
    cursor = control.cursor.value;
  void image.painted.value;
  // it would hide what is being painted
  const isReading = control.tool.value.isReading && labeling && pixel !== null;
  const place = isReading && cursor ? toStage(control.view.value, cursor) : null;
  const { width, height } = control.size.value;
  const across = place && Math.max(80, Math.min(width - 80, place.x));
  return (
    <output
      class={place && place.y < height / 5 ? "reading below" : "reading"}
      aria-live="polite"
      hidden={!place}
      style={place ? { left: `${across}px`, top: `${place.y}px` } : {}}
    >
      {place && <Pixel labeling={labeling!} pixel={pixel!} />}
    </output>
  );
}

function Pixel({ labeling, pixel }: { labeling: NonNullable<OpenImage["labeling"]["value"]>; pixel: number }) {
  const label = labeling.labels[pixel],
    part = labeling.part(pixel);
  const confidence = `${Math.round(labeling.confidence(pixel) / 2.55)} %`;
  return (
    <>
      <Swatch color={label === NONE ? null : labeling.word(label).color} />
      {label === NONE ? "unlabeled" : firstName(labeling.word(label).name)}
      {part !== NONE && `, ${labeling.found.parts!.names[part].part}`}{" "}
      <span class="confidence">{labeling.edits.isCorrected(pixel) ? "corrected" : confidence}</span>
    </>
  );
}

/** Arrow keys go from tool to tool, of which the Tab key finds one. */
function moveAlong({ key, target }: KeyboardEvent): void {
  const from = target as HTMLElement;
  const isNext = key === "ArrowRight" || key === "ArrowDown";
  const to = isNext ? "nextElementSibling" : key === "ArrowLeft" || key === "ArrowUp" ? "previousElementSibling" : null;
  let next = to && (from[to] as HTMLButtonElement | null);
  while (to && next?.disabled) next = next[to] as HTMLButtonElement | null;
  next?.focus();
}

export function Toolbar({ page }: { page: Page }) {
  const { control, session } = page;
  const tool = control.tool.value;
  const image = session.current.value;
  void [image?.painted.value, image?.finished.value];
  const keys = session.settings.keys.value;
  const locked = session.locked.value;
  return (
    <>
      <div class="toolbar tools" role="toolbar" aria-label="Tools">
        <div class="group" onKeyDown={moveAlong}>
          {control.tools.map((one) => (
            <IconButton
              key={one.key}
              icon={one.icon}
              label={one.label}
              name={one.short ?? one.label}
              shortcut={keys[one.key] ?? one.key}
              isPressed={one === tool}
              isSkipped={one !== tool}
              help={one.help}
              reason={one.isEditing ? locked : null}
              onClick={() => control.select(one)}
            />
          ))}
          {!control.tools.some(({ key }) => key === "c") && (
            <IconButton
              icon="click"
              label="Click an object"
              name="Click"
              reason="not here, since the page was built without ONNX Runtime (make web brings it)"
              onClick={() => {}}
            />
          )}
        </div>
        <div class="group">
          <IconButton icon="undo" label="Undo" name="Undo" reason={locked ?? (image?.edits.canUndo ? null : "nothing was changed")} onClick={() => control.retrace("undo")} />
          <IconButton icon="redo" label="Redo" name="Redo" reason={locked ?? (image?.edits.canRedo ? null : "nothing was undone")} onClick={() => control.retrace("redo")} />
        </div>
        <div class="group">
          <HoldButton
            icon="bare"
            label="Hold to see the original, without its labels"
            name="Original"
            onHold={(isHeld) => (control.isBare.value = isHeld)}
          />
          <IconButton
            icon="doubt"
            label="Least certain place"
            name="Least certain"
            reason={session.isLabeled.value ? null : "the image isn't labeled yet"}
            onClick={() => control.doubts.next()}
          />
        </div>
      </div>
      <div class="toolbar options" role="group" aria-label="Options of the tool">
        {locked === null && tool.options ? tool.options() : <span class="help">{locked ?? tool.help}</span>}
      </div>
    </>
  );
}
