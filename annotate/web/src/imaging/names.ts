/** Writes the names of words into their regions. */

import type { NamePlace } from "../labels/name_places";

/** From the image's pixels to those of the canvas. */
export interface Mapping {
  readonly scale: number;
  readonly x: number;
  readonly y: number;
}

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/**
 * Write each name where its region has room for it, as large as the size or a little smaller.
 *
 * @param names by label; null: not written.
 * @param size height of the letters [px of the canvas].
 */
export function drawNames(
  context: Context,
  places: readonly NamePlace[],
  names: readonly (string | null)[],
  { scale, x, y }: Mapping,
  size: number,
): void {
  context.save();
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const place of places) {
    const name = names[place.label];
    if (!name) continue;
    const [width, height] = [2 * place.halfWidth * scale, 2 * place.halfHeight * scale];
    context.font = font(size);
    const fitting = Math.min(size, (size * width) / (context.measureText(name).width + size / 2), height / 1.2);
    if (fitting < 0.8 * size) continue;
    context.font = font(fitting);
    context.lineWidth = fitting / 4;
    context.strokeStyle = "rgb(0 0 0 / 75%)";
    context.fillStyle = "#fff";
    const [across, down] = [place.x * scale + x, place.y * scale + y];
    context.strokeText(name, across, down);
    context.fillText(name, across, down);
  }
  context.restore();
}

function font(size: number): string {
  return `600 ${size}px system-ui, sans-serif`;
}
