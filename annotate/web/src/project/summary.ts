/** What there is to know of an image's labels without opening it. */

import { NONE, type Labeling } from "../labels/labeling";
import { doubtfulPlaces } from "../labels/least_certain";
import { objectFigures } from "../labels/objects";
import type { ImageState } from "./structure";

type Summary = Pick<ImageState, "corrected" | "pixels" | "unlabeled" | "uncertainty" | "least_certain" | "objects">;

export function summaryOf(labeling: Labeling): Summary {
  const { ids, labels, tally } = labeling;
  const pixels: Record<string, number> = {},
    objects: Record<string, number> = {};
  for (const [label, id] of ids.entries())
    if (tally.pixels[label]) pixels[id] = (pixels[id] ?? 0) + tally.pixels[label];
  for (const { label } of objectFigures(labeling)) objects[ids[label]] = (objects[ids[label]] ?? 0) + 1;
  const undecided = labels.length - tally.corrected;
  const doubt = tally.doubt.reduce((sum, one) => sum + one, 0) / 255;
  const [least] = doubtfulPlaces(labeling, 1, 0);
  return {
    corrected: tally.corrected,
    pixels,
    unlabeled: tally.pixels[NONE],
    objects: Object.keys(objects).length ? objects : null,
    uncertainty: undecided ? Number((doubt / undecided).toFixed(4)) : null,
    least_certain: least ? { x: least.x, y: least.y } : null,
  };
}
