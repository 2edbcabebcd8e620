/** Which part of the open image is looked at, and where in it the cursor is. */

import { computed, effect, signal, untracked } from "@preact/signals";

import type { Box, Point, Size } from "../../labels/runs";
import type { Session } from "../../session/session";
import { fitted, framed, moved, showing, toImage, toStage, zoomed, type View } from "./view";

export class Navigation {
  readonly size = signal<Size>({ width: 1, height: 1 });
  readonly view = signal<View>({ scale: 1, x: 0, y: 0 });
  /** Where the pointer is, or the keys have moved [px of the image]; null: nowhere. */
  readonly cursor = signal<Point | null>(null);

  constructor(readonly session: Session) {
    effect(() => {
      void session.current.value;
      this.cursor.value = null;
      untracked(() => this.fit());
    });
  }

  resize(size: Size): void {
    const { session, view } = this;
    const item = session.current.value?.item;
    const wasFitted = this.isFitted.value;
    this.size.value = size;
    if (!item || wasFitted) this.fit();
    else view.value = moved(view.value, 0, 0, item, size);
  }

  /** Whether all of the image is seen. */
  readonly isFitted = computed(() => {
    const item = this.session.current.value?.item;
    return !item || this.view.value.scale <= fitted(item, this.size.value).scale * 1.001;
  });

  fit(): void {
    const item = this.session.current.value?.item;
    if (item) this.view.value = fitted(item, this.size.value);
  }

  /** Look at a rectangle of the image. */
  frame(box: Box): void {
    const item = this.session.current.value?.item;
    if (item) this.view.value = framed(box, item, this.size.value);
  }

  /** The same, or all of the image if it is looked at so already. */
  frameOrFit(box: Box): void {
    const before = this.view.value;
    this.frame(box);
    const { scale, x, y } = this.view.value;
    if (Math.abs(before.scale / scale - 1) < 1e-6 && Math.hypot(before.x - x, before.y - y) < 1) this.fit();
  }

  zoom(factor: number, at?: Point): void {
    const item = this.session.current.value?.item;
    if (!item) return;
    const { width, height } = this.size.value;
    const place =
      at ?? (this.cursor.value ? toStage(this.view.value, this.cursor.value) : { x: width / 2, y: height / 2 });
    this.view.value = zoomed(this.view.value, factor, place, item, this.size.value);
  }

  pan(right: number, down: number): void {
    const item = this.session.current.value?.item;
    if (item) this.view.value = moved(this.view.value, right, down, item, this.size.value);
  }

  hover(at: Point | null): void {
    this.cursor.value = at && toImage(this.view.value, at);
  }

  /** Move the cursor with keys [px of the image]. */
  step(right: number, down: number): void {
    const item = this.session.current.value?.item;
    if (!item) return;
    const { width, height } = this.size.value;
    const from = this.cursor.value ?? toImage(this.view.value, { x: width / 2, y: height / 2 });
    const to = {
      x: Math.max(0.5, Math.min(item.width - 0.5, Math.floor(from.x) + 0.5 + right)),
      y: Math.max(0.5, Math.min(item.height - 0.5, Math.floor(from.y) + 0.5 + down)),
    };
    this.cursor.value = to;
    this.view.value = showing(this.view.value, to, item, this.size.value);
  }

  /** The pixel at the cursor; null: it is outside of the image. */
  readonly pixel = computed<number | null>(() => {
    const item = this.session.current.value?.item,
      cursor = this.cursor.value;
    return item && cursor ? pixelAt(cursor, item) : null;
  });
}

/** The place of a pixel among those of an image; null: it is outside of the image. */
export function pixelAt({ x, y }: Point, { width, height }: Size): number | null {
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  return Math.floor(y) * width + Math.floor(x);
}
