/** The image with its labels, and everything that is done on it. */

import { computed, effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";

import { NONE } from "../../labels/labeling";
import { namePlaces } from "../../labels/name_places";
import { firstName } from "../../labels/synonyms";
import type { OpenImage } from "../../session/open_image";
import { visibleWords } from "../../session/visibility";
import { IconButton } from "../icons";
import type { Page } from "../page";
import type { StageControl } from "./control";
import { Divider } from "./divider";
import { pressStage } from "./keys";
import { Layers } from "./layers";
import { draw } from "./painter";
import { listen } from "./pointers";
import { Reading } from "./reading";
import { WordFinder } from "./word_finder";

export function Stage({ page, image }: { page: Page; image: OpenImage }) {
  const { control } = page;
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const ending = new AbortController();
    listen(canvas.current!, control, ending.signal);
    const observer = new ResizeObserver(
      ([
        {
          contentRect: { width, height },
        },
      ]) => control.resize({ width, height }),
    );
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
      class={`stage ${tool.pointer}${control.isFitted.value ? " fitted" : ""}`}
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
      {control.divider.value !== null && <Divider control={control} />}
      <Reading control={control} image={image} />
      <div class="zoom" role="group" aria-label="Zoom">
        <IconButton icon="minus" label="Zoom out" onClick={() => control.zoom(1 / 1.5)} />
        <IconButton icon="fit" label="Show all of the image" onClick={() => control.fit()} />
        <IconButton icon="plus" label="Zoom in" onClick={() => control.zoom(1.5)} />
      </div>
      {control.finding.value && <WordFinder page={page} />}
      {frame.current && tool.panel?.(frame.current.getBoundingClientRect())}
    </div>
  );
}

/** Draw the image whenever something changes that is seen; returns how to stop. */
function drawing(canvas: HTMLCanvasElement, control: StageControl, image: OpenImage): () => void {
  const { session } = control;
  const context = canvas.getContext("2d")!;
  const layers = new Layers(image.item);
  const places = computed(() => {
    void image.finished.value;
    const { value: labeling } = image.labeling;
    return labeling ? namePlaces(labeling.labels, labeling, NONE) : [];
  });
  const shown = computed(() => visibleWords(session, image.labeling.value?.words ?? []));
  /** What everything was painted for the last time. */
  let painted: readonly unknown[] = [];
  let frame = 0;

  const paint = () => {
    frame = 0;
    // a bitmap that was closed, since another image is open now, has no width
    if (!image.bitmap.width) return;
    const labeling = image.labeling.peek(),
      box = image.takeChanged();
    const wanted = [labeling, shown.peek()];
    if (labeling && wanted.some((one, at) => one !== painted[at])) layers.repaint(labeling, shown.peek());
    else if (box) layers.update(box);
    painted = wanted;
    const density = devicePixelRatio,
      stage = control.size.peek();
    const [width, height] = [Math.round(stage.width * density), Math.round(stage.height * density)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const { opacity, hasNames } = session.settings;
    draw(
      context,
      {
        image: image.bitmap,
        layers: labeling && layers,
        view: control.view.peek(),
        stage,
        opacity: opacity.peek(),
        divider: control.isBare.peek() ? 1 : (control.divider.peek() ?? 0),
        places: hasNames.peek() ? places.peek() : [],
        names: (labeling?.words ?? []).map((word, at) => (shown.peek()[at] ? firstName(word) : null)),
        cursor: control.cursor.peek(),
        tool: control.tool.peek(),
      },
      density,
    );
  };

  const stop = effect(() => {
    const { opacity, hasNames } = session.settings;
    const { view, size, divider, isBare, cursor, tool } = control;
    const { radius, seen: drawn } = tool.value;
    const { painted: counted, finished, labeling } = image;
    const seen = [
      opacity,
      hasNames,
      view,
      size,
      divider,
      isBare,
      cursor,
      ...(radius ? [radius] : []),
      ...drawn,
      counted,
      finished,
      labeling,
      places,
      shown,
    ];
    for (const one of seen) void one.value;
    // drawn when the browser is ready, so that what moves fast doesn't queue up
    frame ||= requestAnimationFrame(paint);
  });
  return () => {
    stop();
    cancelAnimationFrame(frame);
  };
}
