/** Images that are drawn from labels: the overlay, and the cut-out. */

import type { Pixels } from "../backend";
import { drawnColors, drawnLabels } from "../imaging/drawn_labels";
import { drawNames } from "../imaging/names";
import { overlay } from "../imaging/overlay";
import { NONE, shownWords, type Labelling } from "../labels/labelling";
import { namePlaces } from "../labels/name_places";

/** The words as colours over the image, with their names. */
export function overlayPng(pixels: Pixels, labelling: Labelling, opacity: number, hasNames: boolean): Promise<Blob> {
  const { width, height } = pixels;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d")!;
  const drawn = overlay(pixels, drawnLabels(labelling), drawnColors(labelling), opacity);
  context.putImageData(new ImageData(drawn, width, height), 0, 0);
  if (hasNames) {
    const places = namePlaces(labelling.labels, labelling, NONE);
    drawNames(
      context,
      places,
      shownWords(labelling.words),
      { scale: 1, x: 0, y: 0 },
      Math.max(11, Math.min(width, height) / 30),
    );
  }
  return canvas.convertToBlob({ type: "image/png" });
}

/** The image where its pixels have one of the words that are shown, and nothing elsewhere. */
export function cutOutPng(
  { width, height, data }: Pixels,
  { labels }: Labelling,
  isShown: readonly boolean[],
): Promise<Blob> {
  const cut = Uint8ClampedArray.from(data);
  for (let at = 0; at < labels.length; at++)
    if (labels[at] === NONE || !isShown[labels[at]]) cut.fill(0, 4 * at, 4 * at + 4);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")!.putImageData(new ImageData(cut, width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
