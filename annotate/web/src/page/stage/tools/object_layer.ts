/** The objects of an image as colors and outlines, on a canvas that is drawn anew when they change. */

import { wordColor } from "../../../imaging/palette";
import type { Labeling } from "../../../labels/labeling";

/** Longer side of the canvas [px]. */
const LONGEST = 1024;

/** Weights of objects that are chosen and of others, in [0, 255]. */
const CHOSEN = 190,
  OTHER = 105;

/** @param chosen numbers of the objects that stand out. */
export function objectLayer(labeling: Labeling, chosen: readonly number[]): OffscreenCanvas {
  const scale = Math.min(1, LONGEST / Math.max(labeling.width, labeling.height));
  const [width, height] = [labeling.width, labeling.height].map((side) => Math.max(1, Math.round(side * scale)));
  const across = labeling.width / width,
    down = labeling.height / height;
  const numbers = new Uint16Array(width * height);
  for (let y = 0, at = 0; y < height; y++) {
    const line = Math.floor((y + 0.5) * down) * labeling.width;
    for (let x = 0; x < width; x++, at++) numbers[at] = labeling.object(line + Math.floor((x + 0.5) * across));
  }
  const pixels = new Uint8ClampedArray(4 * numbers.length);
  for (let at = 0; at < numbers.length; at++) {
    const number = numbers[at];
    if (!number) continue;
    const x = at % width;
    const isEdge =
      (x > 0 && numbers[at - 1] !== number) ||
      (x + 1 < width && numbers[at + 1] !== number) ||
      (at >= width && numbers[at - width] !== number) ||
      (at + width < numbers.length && numbers[at + width] !== number);
    const isChosen = chosen.includes(number);
    pixels.set(isEdge ? [255, 255, 255, 255] : [...wordColor(number), isChosen ? CHOSEN : OTHER], 4 * at);
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")!.putImageData(new ImageData(pixels, width), 0, 0);
  return canvas;
}
