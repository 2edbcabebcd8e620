/** What surrounds pixels: areas within what a person painted, specks, and the labels that grow into a gap. */

import { connected, regionAt } from "./connected";
import type { Labeling } from "./labeling";
import { boxOf, type Runs, type Size, whole } from "./runs";

/** Lengths of a step along an axis and of a diagonal one, by which the nearest pixel is found (Borgefors). */
const STRAIGHT = 3,
  DIAGONAL = 4;

const FAR = 2 ** 30;

/**
 * For pixels, the labels of the nearest pixels around them.
 *
 * @param labels label of each pixel of the image.
 * @returns the pixels by the labels that they get; nothing if there are no others.
 */
export function surroundings(labels: Uint16Array, runs: Runs, size: Size): Map<number, Runs> {
  const box = boxOf(runs, size.width);
  if (!box) return new Map();
  // one pixel around it, even where the image ends, so that every pixel of it has neighbors
  const left = box.left - 1,
    top = box.top - 1,
    width = box.right - box.left + 2,
    height = box.bottom - box.top + 2;
  const distance = new Int32Array(width * height).fill(FAR);
  const nearest = new Uint16Array(width * height);
  for (let y = Math.max(0, top); y < Math.min(size.height, top + height); y++) {
    for (let x = Math.max(0, left); x < Math.min(size.width, left + width); x++) {
      const at = (y - top) * width + x - left;
      distance[at] = 0;
      nearest[at] = labels[y * size.width + x];
    }
  }
  const place = (pixel: number) => {
    const y = Math.floor(pixel / size.width);
    return (y - top) * width + pixel - y * size.width - left;
  };
  for (let run = 0; run < runs.length; run += 2) {
    const at = place(runs[run]);
    distance.fill(FAR, at, at + runs[run + 1]);
  }
  const relax = (at: number, from: number, step: number) => {
    if (distance[from] + step >= distance[at]) return;
    distance[at] = distance[from] + step;
    nearest[at] = nearest[from];
  };
  for (let y = 1; y + 1 < height; y++) {
    for (let x = 1, at = y * width + 1; x + 1 < width; x++, at++) {
      if (!distance[at]) continue;
      relax(at, at - 1, STRAIGHT);
      relax(at, at - width, STRAIGHT);
      relax(at, at - width - 1, DIAGONAL);
      relax(at, at - width + 1, DIAGONAL);
    }
  }
  for (let y = height - 2; y > 0; y--) {
    for (let x = width - 2, at = y * width + width - 2; x > 0; x--, at--) {
      if (!distance[at]) continue;
      relax(at, at + 1, STRAIGHT);
      relax(at, at + width, STRAIGHT);
      relax(at, at + width + 1, DIAGONAL);
      relax(at, at + width - 1, DIAGONAL);
    }
  }
  const found = new Map<number, number[]>();
  for (let run = 0; run < runs.length; run += 2) {
    const from = place(runs[run]);
    for (let at = 0; at < runs[run + 1];) {
      const label = nearest[from + at],
        first = at;
      if (distance[from + at] >= FAR) return new Map();
      while (at < runs[run + 1] && nearest[from + at] === label) at++;
      if (!found.has(label)) found.set(label, []);
      found.get(label)!.push(runs[run] + first, at - first);
    }
  }
  return new Map([...found].map(([label, stretches]) => [label, Int32Array.from(stretches)]));
}

/**
 * The area around a pixel within what a person painted: what nobody corrected, up to corrections and the image's
 * borders, or what was corrected to one thing. null: nothing was painted, so that nothing encloses it.
 */
export function enclosed({ edits: { layer }, width, height }: Labeling, pixel: number): Runs | null {
  const runs = regionAt(layer, { width, height }, pixel);
  let pixels = 0;
  for (let run = 1; run < runs.length; run += 2) pixels += runs[run];
  return pixels < layer.length ? runs : null;
}

/** Regions and gaps of fewer pixels that nobody corrected. */
export function specks(labeling: Labeling, most: number): Runs {
  const { labels, width } = labeling;
  const { layer } = labeling.edits;
  const regions = connected(width, whole(labeling), (at) => labels[at] + 1);
  const isSpeck = (runs: readonly number[]) => {
    for (let run = 0; run < runs.length; run += 2)
      for (let at = runs[run]; at < runs[run] + runs[run + 1]; at++) if (layer[at]) return false;
    return true;
  };
  return Int32Array.from(
    regions.filter(({ pixels, runs }) => pixels < most && isSpeck(runs)).flatMap(({ runs }) => runs),
  );
}
