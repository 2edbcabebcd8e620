/** Which part of the image to show: the region at a place, or all pixels of a word. */

import { regionAt } from "../../labels/region";
import { boxOf, type Box, type Point } from "../../labels/runs";
import { firstName } from "../../labels/synonyms";
import { pixelAt } from "./navigation";
import type { Workbench } from "./workbench";

/** Show the region at a place as large as it fits; once more: all of the image. */
export function frameRegion(work: Workbench, at: Point | null): void {
  const labeling = work.session.current.value?.labeling.value;
  const pixel = labeling && at && pixelAt(at, labeling);
  const box = typeof pixel === "number" ? boxOf(regionAt(labeling!.labels, labeling!, pixel), labeling!.width) : null;
  if (box) work.frameOrFit(box);
}

/** The same for all pixels of the word that is chosen for the tools. */
export function frameChosen(work: Workbench): void {
  const labeling = work.session.current.value?.labeling.value,
    name = work.choice.value;
  const label = labeling && typeof name === "string" ? labeling.words.map(firstName).indexOf(name) : -1;
  const box = labeling && label >= 0 ? boxOfLabel(labeling.labels, labeling.width, label) : null;
  if (box) work.frameOrFit(box);
}

function boxOfLabel(labels: Uint16Array, width: number, label: number): Box | null {
  const first = labels.indexOf(label);
  if (first < 0) return null;
  const last = labels.lastIndexOf(label);
  const [top, bottom] = [Math.floor(first / width), Math.floor(last / width) + 1];
  let [left, right] = [width, 0];
  for (let y = top; y < bottom; y++) {
    const row = y * width;
    let x = 0;
    while (x < left && labels[row + x] !== label) x++;
    left = Math.min(left, x);
    x = width;
    while (x > right && labels[row + x - 1] !== label) x--;
    right = Math.max(right, x);
  }
  return { left, top, right, bottom };
}
