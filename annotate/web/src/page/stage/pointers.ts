/** What fingers, pens and mice do on the stage: pan, pinch, tap, paint. */

import { distance, type Point } from "../../labels/runs";
import type { StageControl } from "./control";
import { toImage } from "./navigation";
import type { Press, Tool } from "./tool";

/** A finger that moved less than this has tapped [CSS px]. */
const STILL = 6;

/** Two taps within this time [ms] and this distance [CSS px] are a double one. */
const TWICE = { time: 350, distance: 24 };

/** How fast a wheel zooms, for each of its pixels. */
const WHEEL = 0.0015;

/** Listen to the stage until the signal ends it; places are relative to it, but for tools, which work on the image. */
export function listen(element: HTMLElement, control: StageControl, signal: AbortSignal): void {
  const down = new Map<number, Point>();
  /** "held": what is grabbed isn't dragged yet, and was tapped if the pointer stays near. */
  let mode: "none" | "tap" | "pan" | "held" | "drag" | "pinch" = "none";
  let start: Point = { x: 0, y: 0 };
  let press: Press;
  /** The tool at the press, which goes on with it whatever is chosen, or locked, meanwhile. */
  let begun: Tool = control.tool.value;
  /** Where the stage was at the press; if the page is laid out anew since, strokes go on as they began. */
  let edge = element.getBoundingClientRect();
  /** Where and when the last tap was [ms]. */
  let last = { at: start, time: -Infinity };

  const place = ({ clientX, clientY }: MouseEvent): Point => {
    const { left, top } = down.size ? edge : element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  };

  const tool = (): Tool => control.tool.value;
  const inImage = (at: Point) => toImage(control.view.value, at);

  const on = <Kind extends keyof HTMLElementEventMap>(
    kind: Kind,
    handler: (event: HTMLElementEventMap[Kind]) => void,
  ) => element.addEventListener(kind, handler, { signal, passive: false });

  signal.addEventListener("abort", () => control.press(false));
  on("pointerdown", (event) => {
    if (event.button > (tool().hasSecondary ? 2 : 1) || down.size === 2) return;
    if (!down.size) edge = element.getBoundingClientRect();
    const at = place(event);
    element.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at);
    control.press(true);
    if (down.size === 2) {
      if (mode === "held" || mode === "drag") begun.cancel?.();
      mode = "pinch";
      control.hover(null);
      return;
    }
    start = at;
    const { altKey, button, pointerType, shiftKey } = event;
    press = { isSecondary: button === 2, isTouch: pointerType === "touch", shiftKey, altKey };
    control.hover(at);
    begun = tool();
    if (button === 1 || control.isMoving.value) mode = "pan";
    else if (!begun.grab?.(inImage(at), press)) mode = "tap";
    else mode = begun.tap ? "held" : "drag";
  });

  on("pointermove", (event) => {
    const at = place(event),
      before = down.get(event.pointerId);
    if (!before) {
      control.hover(at);
      return;
    }
    const isHeld = mode === "held";
    if (isHeld && !control.isNear(inImage(start), inImage(at), press)) mode = "drag";
    if (mode === "pinch") {
      const other = [...down].find(([id]) => id !== event.pointerId)![1];
      const factor = distance(at, other) / Math.max(1, distance(before, other));
      control.zoom(factor, { x: (before.x + other.x) / 2, y: (before.y + other.y) / 2 });
      control.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    } else if (mode === "drag") {
      let from = isHeld ? start : before;
      // browsers tell several movements at once
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) {
        const to = place(one);
        begun.drag?.(inImage(from), inImage(to));
        from = to;
      }
      control.hover(at);
    } else {
      if (mode === "tap" && distance(at, start) > STILL) mode = "pan";
      if (mode === "pan") control.pan(at.x - before.x, at.y - before.y);
      control.hover(at);
    }
    down.set(event.pointerId, at);
  });

  const tap = (time: number) => {
    begun.tap?.(inImage(start), press);
    const isSecond = time - last.time < TWICE.time && distance(start, last.at) < TWICE.distance;
    if (isSecond) begun.tapTwice?.(inImage(start));
    // a third tap is the first of another two
    last = { at: start, time: isSecond ? -Infinity : time };
  };
  const up = (event: PointerEvent) => {
    if (!down.delete(event.pointerId)) return;
    if (mode === "drag") begun.drop?.(press);
    if (mode === "held") begun.cancel?.();
    if ((mode === "tap" || mode === "held") && event.type === "pointerup") tap(event.timeStamp);
    // the finger that stays after a pinch does nothing
    mode = "none";
    if (!down.size) control.press(false);
  };
  on("pointerup", up);
  on("pointercancel", up);
  on("lostpointercapture", up);
  on("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !down.size) control.hover(null);
  });
  on("contextmenu", (event) => {
    if (tool().hasSecondary) event.preventDefault();
  });
  on("wheel", (event) => {
    event.preventDefault();
    // a line of a wheel is about 16 pixels
    const pixels = event.deltaMode ? 16 : 1;
    if (event.shiftKey) control.pan(-(event.deltaX || event.deltaY) * pixels, 0);
    else {
      // a trackpad's pinch has small steps
      const speed = event.ctrlKey ? 6 * WHEEL : WHEEL;
      control.zoom(Math.exp(-event.deltaY * pixels * speed), place(event));
      if (!event.ctrlKey && event.deltaX) control.pan(-event.deltaX * pixels, 0);
    }
  });
}
