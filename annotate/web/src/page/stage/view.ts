/** Which part of the image is looked at. */

import type { Box, Point, Size } from "../../labels/runs";

/** From the image to the stage: a place (x, y) of the image is at (scale x + this.x, scale y + this.y) [CSS px]. */
export interface View {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
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
