/** Images that are drawn from labels: the overlay, and the cut-out. */

import type { Pixels } from "../backend";
import { drawnColors, drawnLabels } from "../imaging/drawn_labels";
import { drawNames } from "../imaging/names";
import { overlay } from "../imaging/overlay";
import { NONE, shownWords, type Labeling } from "../labels/labeling";
import { namePlaces } from "../labels/name_places";

/** The words as colors over the image, with their names. */
export function overlayPng(pixels: Pixels, labeling: Labeling, opacity: number, hasNames: boolean): Promise<Blob> {
  const { width, height } = pixels;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d")!;
  const drawn = overlay(pixels, drawnLabels(labeling), drawnColors(labeling), opacity);
  context.putImageData(new ImageData(drawn, width, height), 0, 0);
  if (hasNames) {
    const places = namePlaces(labeling.labels, labeling, NONE);
    drawNames(
      context,
      places,
      shownWords(labeling.words),
      { scale: 1, x: 0, y: 0 },
      Math.max(11, Math.min(width, height) / 30),
    );
  }
  return canvas.convertToBlob({ type: "image/png" });
}

/** The image where its pixels have one of the words that are shown, and nothing elsewhere. */
export function cutOutPng(
  { width, height, data }: Pixels,
  { labels }: Labeling,
  isShown: readonly boolean[],
): Promise<Blob> {
  const cut = Uint8ClampedArray.from(data);
  for (let at = 0; at < labels.length; at++)
    if (labels[at] === NONE || !isShown[labels[at]]) cut.fill(0, 4 * at, 4 * at + 4);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")!.putImageData(new ImageData(cut, width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
