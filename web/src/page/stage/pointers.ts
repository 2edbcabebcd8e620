/** What fingers, pens and mice do on the stage: pan, pinch, tap, paint. */

import type { Point } from "../../labels/runs";

export interface Moves {
  pan(right: number, down: number): void;
  zoom(factor: number, at: Point): void;
  /** The pointer is there, or nowhere. */
  hover(at: Point | null): void;
  tap(at: Point): void;
  /** Whether a drag that begins now paints, instead of panning. */
  paints(): boolean;
  begin(at: Point): void;
  paint(from: Point, to: Point): void;
  end(): void;
  /** Take back what was painted, since the drag became a pinch. */
  cancel(): void;
}

/** A finger that moved less than this has tapped [CSS px]. */
const STILL = 6;

/** How fast a wheel zooms, for each of its pixels. */
const WHEEL = 0.0015;

/** Listen to an element until the signal ends it; places are relative to the element. */
export function listen(element: HTMLElement, moves: Moves, signal: AbortSignal): void {
  const down = new Map<number, Point>();
  let mode: "none" | "tap" | "pan" | "paint" | "pinch" = "none";
  let start: Point = { x: 0, y: 0 };

  const place = ({ clientX, clientY }: MouseEvent): Point => {
    const { left, top } = element.getBoundingClientRect();
    return { x: clientX - left, y: clientY - top };
  };

  const on = <Kind extends keyof HTMLElementEventMap>(
    kind: Kind,
    handler: (event: HTMLElementEventMap[Kind]) => void,
  ) => element.addEventListener(kind, handler, { signal, passive: false });

  on("pointerdown", (event) => {
    if (event.button > 1 || down.size === 2) return;
    const at = place(event);
    element.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at);
    if (down.size === 2) {
      if (mode === "paint") moves.cancel();
      mode = "pinch";
      moves.hover(null);
      return;
    }
    start = at;
    if (event.button === 1) mode = "pan";
    else if (moves.paints()) {
      mode = "paint";
      moves.begin(at);
    } else mode = "tap";
    moves.hover(at);
  });

  on("pointermove", (event) => {
    const at = place(event),
      before = down.get(event.pointerId);
    if (!before) {
      moves.hover(at);
      return;
    }
    if (mode === "pinch") {
      const other = [...down].find(([id]) => id !== event.pointerId)![1];
      const factor = distance(at, other) / Math.max(1, distance(before, other));
      moves.zoom(factor, middle(before, other));
      moves.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    } else if (mode === "paint") {
      let from = before;
      // browsers tell several movements at once
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) {
        const to = place(one);
        moves.paint(from, to);
        from = to;
      }
      moves.hover(at);
    } else {
      if (mode === "tap" && distance(at, start) > STILL) mode = "pan";
      if (mode === "pan") moves.pan(at.x - before.x, at.y - before.y);
      moves.hover(at);
    }
    down.set(event.pointerId, at);
  });

  const up = (event: PointerEvent) => {
    if (!down.delete(event.pointerId)) return;
    if (mode === "paint") moves.end();
    if (mode === "tap" && event.type === "pointerup") moves.tap(start);
    // the finger that stays after a pinch does nothing
    mode = "none";
  };
  on("pointerup", up);
  on("pointercancel", up);
  on("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !down.size) moves.hover(null);
  });
  on("wheel", (event) => {
    event.preventDefault();
    // a line of a wheel is about 16 pixels
    const pixels = event.deltaMode ? 16 : 1;
    if (event.shiftKey) moves.pan(-(event.deltaX || event.deltaY) * pixels, 0);
    else {
      // a trackpad's pinch has small steps
      const speed = event.ctrlKey ? 6 * WHEEL : WHEEL;
      moves.zoom(Math.exp(-event.deltaY * pixels * speed), place(event));
      if (!event.ctrlKey && event.deltaX) moves.pan(-event.deltaX * pixels, 0);
    }
  });
}

function distance(one: Point, other: Point): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function middle(one: Point, other: Point): Point {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}
