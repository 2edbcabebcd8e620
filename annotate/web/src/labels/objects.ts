/** Objects of words: what makes, divides, unites and counts them. All of it are actions of the history in `Edits`. */

import { connected, type Connected, DIAGONAL, distances, Patch, regionAt, spread, STRAIGHT } from "./connected";
import type { Labeling } from "./labeling";
import { type Box, boxOf, forRuns, grown, pixelsOf, type Point, rowsOf, type Runs, split, stroke, whole } from "./runs";

/** Share of an image's pixels that a region needs to become an object, and fewest pixels. */
const LEAST = { share: 1 / 5000, pixels: 12 };

/** How far a speck may be from the object that it joins, as a share of the image's longer side. */
const REACH = 1 / 50;

/** Share of an object's pixels below which a piece is a splinter, which stays with its neighbor. */
const SPLINTER = 1 / 100;

/** Value of pixels that are about to get a number of an object. */
const OPEN = 65535;

interface ObjectFigures {
  readonly number: number;
  /** Id of its word. */
  readonly label: number;
  /** Its place among the objects of its word, from 1. */
  readonly rank: number;
  readonly pixels: number;
  readonly box: Box;
  /** The middle of its longest stretch, which is inside of it. */
  readonly middle: Point;
}

/** All objects that have pixels, in the order of their numbers. */
export function objectFigures(labeling: Labeling): ObjectFigures[] {
  const { labels, width } = labeling;
  const { objectLayer: layer } = labeling.edits;
  if (!layer) return [];
  const ranks = new Map<number, number>();
  const stored = [...split(rowsOf(labeling), (pixel) => layer[pixel])].sort(([one], [other]) => one - other);
  return stored.flatMap(([number, all]) => {
    const label = labeling.edits.ownerOf(number);
    if (label === null) return [];
    const runs = split(all, (pixel) => labels[pixel] === label).get(true);
    if (!runs) return [];
    const rank = (ranks.get(label) ?? 0) + 1;
    ranks.set(label, rank);
    let longest = 0;
    for (let at = 2; at < runs.length; at += 2) if (runs[at + 1] > runs[longest + 1]) longest = at;
    const y = Math.floor(runs[longest] / width);
    const middle = { x: runs[longest] - y * width + runs[longest + 1] / 2, y: y + 0.5 };
    return [{ number, label, rank, pixels: pixelsOf(runs), box: boxOf(runs, width)!, middle }];
  });
}

/** The number of each pixel's object; null: there are no objects. */
export function objectMap({ labels, edits }: Pick<Labeling, "labels" | "edits">): Uint16Array<ArrayBuffer> | null {
  const { objectLayer: layer } = edits;
  const isOf = (number: number, pixel: number) => number > 0 && edits.ownerOf(number) === labels[pixel];
  const numbers = layer && Uint16Array.from(layer, (number, pixel) => (isOf(number, pixel) ? number : 0));
  return numbers?.some(Boolean) ? numbers : null;
}

/**
 * Make an object of each connected region of a word that has none yet. Smaller regions join the nearest object of the
 * word, if there is one near, or else stay without one.
 */
export function makeObjects(labeling: Labeling, label: number, fewest?: number): void {
  const { width, labels } = labeling;
  const least = fewest ?? Math.max(LEAST.pixels, Math.round(LEAST.share * labels.length));
  const regions = connected(width, whole(labeling), (at) => Number(labels[at] === label && !labeling.object(at)));
  const give = ({ runs }: Connected, number: number | null) => void (number && labeling.edits.assign(runs, number));
  for (const region of regions) if (region.pixels >= least) give(region, labeling.edits.createObject(label));
  const specks = regions.filter(({ pixels }) => pixels < least);
  // found first, so that no chains of specks join
  for (const [speck, number] of specks.map((one) => [one, nearest(labeling, one, label)] as const)) give(speck, number);
}

/** The object of a word that is nearest to a small region, if one is near. */
function nearest(labeling: Labeling, { runs }: Connected, label: number): number | null {
  const { width, height } = labeling;
  const reach = Math.max(2, Math.round(REACH * Math.max(width, height)));
  const own = boxOf(runs, width)!;
  const { left, top, right, bottom } = grown(own, reach, labeling);
  let [best, least] = [0, reach ** 2 + 1];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const number = labeling.object(y * width + x);
      if (!number || labeling.edits.ownerOf(number) !== label) continue;
      const across = Math.max(own.left - x, 0, x - own.right + 1),
        down = Math.max(own.top - y, 0, y - own.bottom + 1);
      const distance = across ** 2 + down ** 2;
      if (distance < least) [best, least] = [number, distance];
    }
  }
  return best || null;
}

/**
 * Divide objects along a line that leads across them. The largest piece keeps the number.
 *
 * @param chosen the objects that may be divided; null: all.
 * @returns the numbers of the pieces; none if the line divides nothing.
 */
export function cut(labeling: Labeling, line: readonly Point[], chosen: readonly number[] | null): number[] {
  const { width } = labeling;
  const onLine = touched(line, labeling);
  const numbers = new Set([...onLine].map((pixel) => labeling.object(pixel)));
  const pieces: number[] = [];
  for (const { number, box: own, pixels } of objectFigures(labeling)) {
    if (!numbers.has(number) || (chosen && !chosen.includes(number))) continue;
    const regions = connected(width, own, (at) => Number(labeling.object(at) === number && !onLine.has(at)));
    const patch = new Patch(width, own);
    for (const pixel of onLine) if (labeling.object(pixel) === number) patch.values[patch.place(pixel)] = OPEN;
    const beside = regions.filter((region) => touches(patch, region)).sort((one, other) => other.pixels - one.pixels);
    const large = beside.filter((region) => region.pixels >= SPLINTER * pixels);
    const parts = large.length > 1 ? large : beside.slice(0, 2);
    if (parts.length < 2) continue;
    for (const region of beside) patch.fill(region.runs, OPEN);
    for (const [at, region] of parts.entries())
      patch.fill(region.runs, at ? (newLike(labeling, number) ?? number) : number);
    spread(patch, OPEN);
    const now = [...new Set(patch.values)].filter((value) => value && value !== OPEN);
    for (const piece of now) labeling.edits.assign(patch.runs(piece), piece);
    pieces.push(...now);
  }
  return pieces;
}

function touches(patch: Patch, { runs }: Connected): boolean {
  let isBeside = false;
  for (let at = 0; at < runs.length && !isBeside; at += 2)
    for (let place = patch.place(runs[at]), end = place + runs[at + 1]; place < end && !isBeside; place++)
      patch.around(place, (beside) => (isBeside ||= patch.values[beside] === OPEN));
  return isBeside;
}

/** Divide an object into its regions if it has several, or else in two where it is narrow; returns as `cut`. */
export function divide(labeling: Labeling, number: number): number[] {
  const figures = objectFigures(labeling).find((one) => one.number === number);
  if (!figures) return [];
  const regions = connected(labeling.width, figures.box, (at) => Number(labeling.object(at) === number));
  // specks that joined the object are no bodies
  const large = regions.filter(({ pixels }) => pixels >= SPLINTER * figures.pixels);
  if (large.length > 1) return apart(labeling, number, large, regions);
  const patch = new Patch(labeling.width, figures.box);
  for (const { runs } of regions) patch.fill(runs, OPEN);
  return divideAtNeck(patch) ? given(labeling, number, [patch.runs(1), patch.runs(2)]) : [];
}

/** Divide an object into its large regions; each of the others goes to the one whose rectangle is nearest. */
function apart(labeling: Labeling, number: number, large: readonly Connected[], all: readonly Connected[]) {
  const { width } = labeling;
  const bodies = large.map(({ runs }) => ({ box: boxOf(runs, width)!, runs: [...runs] }));
  for (const { runs } of all.filter((region) => !large.includes(region))) {
    const own = boxOf(runs, width)!;
    const near = bodies.reduce((best, one) => (gap(one.box, own) < gap(best.box, own) ? one : best));
    for (const value of runs) near.runs.push(value);
  }
  return given(labeling, number, bodies.map(({ runs }) => Int32Array.from(runs)));
}

/** Squared distance between two rectangles. */
function gap(one: Box, other: Box): number {
  const across = Math.max(0, one.left - other.right, other.left - one.right),
    down = Math.max(0, one.top - other.bottom, other.top - one.bottom);
  return across ** 2 + down ** 2;
}

/** Give all pieces of an object but the largest a number of their own. */
function given(labeling: Labeling, number: number, runs: readonly Runs[]): number[] {
  const pieces = [number];
  for (const piece of [...runs].sort((one, other) => pixelsOf(other) - pixelsOf(one)).slice(1)) {
    const fresh = newLike(labeling, number);
    if (!fresh) break;
    labeling.edits.assign(piece, fresh);
    pieces.push(fresh);
  }
  return pieces;
}

/** Unite objects under the first number, if all have one word. */
export function merge(labeling: Labeling, [first, ...others]: readonly number[]): void {
  const { edits } = labeling;
  if (others.some((one) => edits.ownerOf(one) !== edits.ownerOf(first))) return;
  for (const other of others) reassign(labeling, other, first);
}

/** Make pixels of objects pixels without an object again; they keep their word. */
export function dissolve(labeling: Labeling, numbers: readonly number[]): void {
  for (const number of numbers) reassign(labeling, number, 0);
}

/**
 * Let the pixels that were just painted join the objects that they touch; those between several go to the nearest. What
 * touches neither an object of its word nor the rest of the word becomes an object. Words without objects get none.
 *
 * @param counted ids of the words that had objects before.
 */
export function joinTouched(labeling: Labeling, counted: ReadonlySet<number>): void {
  const { width, labels } = labeling;
  const runs = labeling.edits.begunRuns;
  if (!runs.length || !counted.size) return;
  const painted: number[] = [];
  for (let at = 0; at < runs.length; at += 4) painted.push(runs[at], runs[at + 1]);
  const around = grown(boxOf(painted, width)!, 1, labeling);
  const isPainted = new Patch(width, around);
  isPainted.fill(painted, 1);
  const wants = (at: number) =>
    isPainted.values[isPainted.place(at)] && counted.has(labels[at]) && !labeling.object(at);
  for (const region of connected(width, around, (at) => (wants(at) ? labels[at] + 1 : 0))) {
    const label = region.key - 1;
    const patch = new Patch(width, grown(boxOf(region.runs, width)!, 1, labeling));
    patch.fill(region.runs, OPEN);
    let isAlone = true;
    forRuns(region.runs, (pixel) =>
      patch.around(patch.place(pixel), (beside) => {
        const there = patch.pixel(beside);
        if (labels[there] !== label || patch.values[beside]) return;
        isAlone = false;
        patch.values[beside] = labeling.object(there);
      }),
    );
    if (isAlone) {
      const number = labeling.edits.createObject(label);
      if (number) labeling.edits.assign(region.runs, number);
      continue;
    }
    spread(patch, OPEN);
    for (const number of new Set(patch.values))
      if (number && number !== OPEN) labeling.edits.assign(patch.runs(number), number);
  }
}

/** A new object of the same word; null: there are none left. */
function newLike(labeling: Labeling, number: number): number | null {
  return labeling.edits.createObject(labeling.edits.ownerOf(number)!);
}

/** Give another object all that is stored as one's, also the pixels that have another word now. */
function reassign(labeling: Labeling, number: number, other: number): void {
  const { objectLayer: layer } = labeling.edits;
  const runs = layer && split(rowsOf(labeling), (pixel) => layer[pixel] === number).get(true);
  if (runs) labeling.edits.assign(runs, other);
}

/** The pixels that a line touches: a band without gaps, so that no corners connect what lies on its sides. */
function touched(line: readonly Point[], labeling: Labeling): Set<number> {
  const found = new Set<number>();
  for (const [at, from] of line.entries())
    forRuns(stroke(from, line[at + 1] ?? from, Math.SQRT1_2, labeling), (pixel) => found.add(pixel));
  return found;
}

/** Share of its height by which a peak has to rise above the pass to a higher one to be a body of its own. */
const LEAST_RISE = 0.15;

/** Divide the open places in two, 1 and 2, at the clearest neck of their shape; false: it has none. */
function divideAtNeck(patch: Patch): boolean {
  const far = distances(patch.values, patch, STRAIGHT, DIAGONAL);
  const levels: number[][] = [];
  for (const [place, value] of patch.values.entries()) if (value) (levels[far[place]] ??= []).push(place);
  const parents = new Int32Array(far.length).fill(-1);
  /** The highest place of what is joined at a root. */
  const peaks = new Int32Array(far.length);
  const root = (place: number): number => {
    while (parents[place] !== place) place = parents[place] = parents[parents[place]];
    return place;
  };
  let middles: [number, number] | null = null,
    pass = 0,
    most = 0;
  // the farthest from the border first
  const order = levels.reverse().flat();
  for (const [at, place] of order.entries()) {
    parents[place] = place;
    peaks[place] = place;
    patch.around(place, (beside) => {
      if (parents[beside] < 0) return;
      const [one, other] = [root(place), root(beside)];
      if (one === other) return;
      const [high, low] = far[peaks[one]] >= far[peaks[other]] ? [one, other] : [other, one];
      const rise = far[peaks[low]] - far[place];
      if (rise > most && rise >= LEAST_RISE * far[peaks[low]]) {
        most = rise;
        pass = at;
        middles = [peaks[high], peaks[low]];
      }
      parents[low] = high;
    });
  }
  if (!middles) return false;
  // the bodies are what is higher than the pass between them; what is lower goes to the nearest
  const higher = new Uint16Array(far.length);
  for (const place of order.slice(0, pass)) higher[place] = 1;
  for (const [at, middle] of (middles as [number, number]).entries())
    patch.fill(patch.inImage(regionAt(higher, patch, middle, undefined, 1)), 1 + at);
  spread(patch, OPEN);
  return true;
}
