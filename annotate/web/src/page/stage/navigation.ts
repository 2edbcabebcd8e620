/** Which part of the open image is looked at, and where in it the cursor is. */

import { computed, effect, signal, untracked } from "@preact/signals";

import type { View } from "../../imaging/names";
import { type DoubtfulPlace, doubtfulPlaces, type Labeling } from "../../labels/labeling";
import { type Box, distance, holds, pixelAt, type Point, type Size } from "../../labels/runs";
import type { Session } from "../../session/session";

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

  private isPressed = false;
  /** The size that the stage got while something was pressed; null: it has the same. */
  private next: Size | null = null;

  /** While something is pressed, a change of the page's layout changes nothing: a stroke goes on as it began. */
  press(isPressed: boolean): void {
    const { next } = this;
    this.isPressed = isPressed;
    this.next = null;
    if (next) this.resize(next);
  }

  resize(size: Size): void {
    if (this.isPressed) return void (this.next = size);
    const wasFitted = this.isFitted.value;
    this.size.value = size;
    if (wasFitted) this.fit();
    else this.pan(0, 0);
  }

  readonly isFitted = computed(() => {
    const item = this.session.current.value?.item;
    return !item || this.view.value.scale <= fitted(item, this.size.value).scale * 1.001;
  });

  private look(how: (view: View, image: Size, stage: Size) => View): void {
    const image = this.session.current.value?.item;
    if (image) this.view.value = how(this.view.value, image, this.size.value);
  }

  fit(): void {
    this.look((_, image, stage) => fitted(image, stage));
  }

  frame(box: Box): void {
    this.look((_, image, stage) => framed(box, image, stage));
  }

  /** The same, or all of the image if it is looked at so already. */
  frameOrFit(box: Box): void {
    const before = this.view.value;
    this.frame(box);
    const { scale, x, y } = this.view.value;
    if (Math.abs(before.scale / scale - 1) < 1e-6 && Math.hypot(before.x - x, before.y - y) < 1) this.fit();
  }

  zoom(factor: number, at?: Point): void {
    this.look((view, image, stage) => {
      const cursor = this.cursor.value && toStage(view, this.cursor.value);
      return zoomed(view, factor, at ?? cursor ?? { x: stage.width / 2, y: stage.height / 2 }, image, stage);
    });
  }

  pan(right: number, down: number): void {
    this.look((view, image, stage) => moved(view, right, down, image, stage));
  }

  hover(at: Point | null): void {
    this.cursor.value = at && toImage(this.view.value, at);
  }

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
    this.look((view, image, stage) => showing(view, to, image, stage));
  }

  /** The pixel at the cursor; null: it is outside of the image. */
  readonly pixel = computed<number | null>(() => {
    const item = this.session.current.value?.item,
      cursor = this.cursor.value;
    return item && cursor ? pixelAt(cursor, item) : null;
  });
}

/** Largest size of a pixel [CSS px], and room around an image that fits [CSS px]. */
const LARGEST = 40,
  MARGIN = 12;

/** All of the image, in the middle. */
export function fitted(image: Size, stage: Size): View {
  const room = { width: Math.max(1, stage.width - 2 * MARGIN), height: Math.max(1, stage.height - 2 * MARGIN) };
  const scale = Math.min(room.width / image.width, room.height / image.height, LARGEST);
  return centered({ scale, x: 0, y: 0 }, image, stage);
}

/** A rectangle of the image as large as it fits, with as much of the image around it as there is room for. */
export function framed({ left, top, right, bottom }: Box, image: Size, stage: Size): View {
  const nearest = fitted({ width: right - left, height: bottom - top }, stage).scale;
  const scale = Math.max(nearest, fitted(image, stage).scale);
  const x = stage.width / 2 - (scale * (left + right)) / 2,
    y = stage.height / 2 - (scale * (top + bottom)) / 2;
  return centered({ scale, x, y }, image, stage);
}

/** Nearer or farther, so that the place of the image under a place of the stage stays there. */
export function zoomed(view: View, factor: number, at: Point, image: Size, stage: Size): View {
  const all = fitted(image, stage);
  const scale = Math.min(Math.max(LARGEST, all.scale), view.scale * factor);
  // rounding doesn't keep it from fitting again
  if (scale < 1.001 * all.scale) return all;
  const grown = scale / view.scale;
  return centered({ scale, x: at.x - (at.x - view.x) * grown, y: at.y - (at.y - view.y) * grown }, image, stage);
}

export function moved(view: View, right: number, down: number, image: Size, stage: Size): View {
  return centered({ ...view, x: view.x + right, y: view.y + down }, image, stage);
}

/** Moved as far as needed to show a place of the image. */
export function showing(view: View, place: Point, image: Size, stage: Size): View {
  const { x, y } = toStage(view, place);
  const need = (at: number, end: number) => (at < MARGIN ? MARGIN - at : at > end - MARGIN ? end - MARGIN - at : 0);
  return moved(view, need(x, stage.width), need(y, stage.height), image, stage);
}

export function toImage(view: View, { x, y }: Point): Point {
  return { x: (x - view.x) / view.scale, y: (y - view.y) / view.scale };
}

export function toStage(view: View, { x, y }: Point): Point {
  return { x: x * view.scale + view.x, y: y * view.scale + view.y };
}

/** In the middle where the image is smaller than the stage, else without a gap at its edges. */
function centered({ scale, x, y }: View, image: Size, stage: Size): View {
  const along = (start: number, length: number, room: number) =>
    length <= room ? (room - length) / 2 : Math.max(room - length - MARGIN, Math.min(MARGIN, start));
  return { scale, x: along(x, image.width * scale, stage.width), y: along(y, image.height * scale, stage.height) };
}

/** Distance of a dialog from what it is about, and from the edges of the window [CSS px]. */
const APART = 12,
  EDGE = 8;

/** How far a dialog may be from the press that opened it [CSS px]. */
const REACH = 170;

/** The upper left corner of a dialog near a place, which it covers as little of a rectangle as it can; all in the window. */
export function beside({ left, top, right, bottom }: Box, at: Point, { width, height }: Size, window: Size): Point {
  const within = (place: number, most: number, least = 0) => Math.max(least, Math.min(most - least, place));
  const places = [
    [right + APART, at.y - height / 3],
    [left - APART - width, at.y - height / 3],
    [at.x - width / 2, bottom + APART],
    [at.x - width / 2, top - APART - height],
    [at.x + APART, at.y - height / 3],
    [at.x - APART - width, at.y - height / 3],
  ].map(([x, y]): Point => ({ x: within(x, window.width - width, width < window.width ? EDGE : 0), y: within(y, window.height - height, EDGE) }));
  const covered = ({ x, y }: Point) =>
    Math.max(0, Math.min(right, x + width) - Math.max(left, x)) * Math.max(0, Math.min(bottom, y + height) - Math.max(top, y));
  const far = ({ x, y }: Point) => distance(at, { x: x + within(at.x - x, width), y: y + within(at.y - y, height) });
  const near = places.filter((place) => far(place) <= REACH);
  return near.sort((one, other) => covered(one) - covered(other) || far(one) - far(other))[0];
}

export class Doubts {
  private labeling: Labeling | null = null;
  private seen: DoubtfulPlace[] = [];

  constructor(private readonly navigation: Navigation) {}

  /** Look at the place with the most doubt that wasn't looked at yet, then again from the first. */
  next(): void {
    const labeling = this.navigation.session.current.value?.labeling.value ?? null;
    if (labeling !== this.labeling) this.seen = [];
    this.labeling = labeling;
    const places = labeling ? doubtfulPlaces(labeling) : [];
    const isNew = (place: DoubtfulPlace) => !this.seen.some(({ box }) => holds(box, place));
    let place = places.find(isNew);
    if (!place) {
      this.seen = [];
      place = places[0];
    }
    if (!place) return;
    this.seen.push(place);
    this.navigation.frame(place.box);
    this.navigation.cursor.value = { x: place.x + 0.5, y: place.y + 0.5 };
  }
}
