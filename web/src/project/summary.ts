/** What there is to know of an image's labels without opening it. */

import { NONE, type Labeling } from "../labels/labeling";
import { objectFigures } from "../labels/objects";
import type { ImageState } from "./structure";

/** Sides of the squares of which the least certain one is looked for, as a share of the image's shorter side. */
const SQUARE = 1 / 16;

type Summary = Pick<ImageState, "corrected" | "pixels" | "unlabeled" | "uncertainty" | "least_certain" | "objects">;

export function summaryOf(labeling: Labeling): Summary {
  const { labels, width, height, ids } = labeling;
  const side = Math.max(1, Math.round(SQUARE * Math.min(width, height)));
  const columns = Math.ceil(width / side);
  const doubt = new Float64Array(columns * Math.ceil(height / side)),
    open = new Float64Array(doubt.length);
  const counts = new Float64Array(NONE + 1);
  let corrected = 0;
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor(y / side) * columns;
    for (let x = 0; x < width; x++, at++) {
      counts[labels[at]]++;
      if (labeling.isCorrected(at)) {
        corrected++;
        continue;
      }
      const square = row + Math.floor(x / side);
      doubt[square] += 1 - labeling.confidence(at) / 255;
      open[square]++;
    }
  }
  const pixels: Record<string, number> = {};
  for (const [label, id] of ids.entries()) if (counts[label]) pixels[id] = (pixels[id] ?? 0) + counts[label];
  const objects: Record<string, number> = {};
  for (const { label } of objectFigures(labeling)) objects[ids[label]] = (objects[ids[label]] ?? 0) + 1;
  const undecided = labels.length - corrected;
  const whole = doubt.reduce((sum, one) => sum + one, 0);
  // a square counts as much as it has pixels that nobody decided
  const least = undecided ? doubt.indexOf(doubt.reduce((most, one) => Math.max(most, one))) : -1;
  return {
    corrected,
    pixels,
    unlabeled: counts[NONE],
    objects: Object.keys(objects).length ? objects : null,
    uncertainty: undecided ? Number((whole / undecided).toFixed(4)) : null,
    least_certain: least < 0 ? null : middle(least, columns, side, width, height),
  };
}

function middle(square: number, columns: number, side: number, width: number, height: number) {
  const [left, top] = [(square % columns) * side, Math.floor(square / columns) * side];
  return {
    x: Math.floor((left + Math.min(width, left + side)) / 2),
    y: Math.floor((top + Math.min(height, top + side)) / 2),
  };
}
