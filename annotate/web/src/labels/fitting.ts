/**
 * Moves the border of a region to the edges of the image near it: a watershed from what surely is inside and outside, which
 * reaches places of weak edges first ("Topographic distance and watershed lines", Meyer, 1994).
 */

import { DIAGONAL, distances, STRAIGHT } from "./connected";
import type { Box, Runs, Size } from "./runs";

export type Way = "grow" | "shrink";

const OPEN = 0,
  INSIDE = 1,
  OUTSIDE = 2;

/** Levels of edges. */
const LEVELS = 256;

/** The pixels of a region on the cells of a rectangle. */
export function cellsOf(runs: Runs, width: number, { left, top, right, bottom }: Box, size: Size): Uint16Array {
  const cells = new Uint16Array(size.width * size.height);
  const across = size.width / (right - left),
    down = size.height / (bottom - top);
  for (let at = 0; at < runs.length; at += 2) {
    const y = Math.floor(runs[at] / width),
      x = runs[at] - y * width;
    const row = Math.floor((y - top) * down);
    // cells whose middle row and columns are covered
    if (y !== top + Math.floor((row + 0.5) / down)) continue;
    const first = Math.ceil((x - left) * across - 0.5),
      end = Math.ceil((x + runs[at + 1] - left) * across - 0.5);
    cells.fill(1, row * size.width + Math.max(0, first), row * size.width + Math.min(size.width, end));
  }
  return cells;
}

/**
 * The cells inside of the border that was moved; null: the region is too thin to move it.
 *
 * @param region 1 for the cells of the region, else 0.
 * @param pixels RGBA of each cell.
 * @param reach how far the border may move [cells].
 */
export function fitted(region: Uint16Array, pixels: Uint8ClampedArray, size: Size, way: Way, reach: number): Uint8Array | null {
  const far = distances(region, size, STRAIGHT, DIAGONAL);
  const owners = new Uint8Array(region.length);
  for (const [at, inside] of region.entries()) {
    const isSure = inside ? way === "grow" || far[at] > STRAIGHT * reach : way === "shrink" || far[at] > STRAIGHT * reach;
    if (isSure) owners[at] = inside ? INSIDE : OUTSIDE;
  }
  if (!owners.includes(INSIDE)) return null;
  flood(owners, edgesOf(pixels, size), size);
  return owners.map((owner) => Number(owner === INSIDE));
}

/** How much the color of a cell differs from those beside it, in [0, 255]. */
function edgesOf(pixels: Uint8ClampedArray, { width, height }: Size): Uint8Array {
  const edges = new Uint8Array(width * height);
  const compare = (one: number, other: number) => {
    let most = 0;
    for (let channel = 0; channel < 3; channel++) most = Math.max(most, Math.abs(pixels[4 * one + channel] - pixels[4 * other + channel]));
    for (const at of [one, other]) edges[at] = Math.max(edges[at], most);
  };
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      if (x + 1 < width) compare(at, at + 1);
      if (y + 1 < height) compare(at, at + width);
    }
  return edges;
}

/** Give open cells to those beside them, over the weakest edges first. */
function flood(owners: Uint8Array, edges: Uint8Array, { width, height }: Size): void {
  const waiting: number[][] = Array.from({ length: LEVELS }, () => []);
  const spread = (at: number, level: number) => {
    const x = at % width;
    const beside = [x > 0 ? at - 1 : -1, x + 1 < width ? at + 1 : -1, at - width, at + width];
    for (const next of beside) {
      if (next < 0 || next >= width * height || owners[next] !== OPEN) continue;
      owners[next] = owners[at];
      waiting[Math.max(level, edges[next])].push(next);
    }
  };
  for (const [at, owner] of owners.slice().entries()) if (owner !== OPEN) spread(at, 0);
  for (let level = 0; level < LEVELS; level++)
    for (let head = 0; head < waiting[level].length; head++) spread(waiting[level][head], level);
}

/** The pixels of an image whose cells in a rectangle are in a mask. */
export function runsOfCells(mask: Uint8Array, width: number, { left, top, right, bottom }: Box, size: Size): Runs {
  const across = size.width / (right - left),
    down = size.height / (bottom - top);
  const runs: number[] = [];
  for (let y = top; y < bottom; y++) {
    const row = Math.min(size.height - 1, Math.floor((y - top + 0.5) * down)) * size.width;
    for (let x = left; x < right;) {
      const isIn = (column: number) => mask[row + Math.min(size.width - 1, Math.floor((column - left + 0.5) * across))];
      const start = x,
        here = isIn(x++);
      while (x < right && isIn(x) === here) x++;
      if (here) runs.push(y * width + start, x - start);
    }
  }
  return Int32Array.from(runs);
}
