/** The names of words in their regions: where each has room, and how it is written. */

import { distances, regions } from "../labels/connected";
import { forRuns, type Point, type Size } from "../labels/runs";

/** Rows of the grid on which places are looked for. */
const ROWS = 160;

/** Width of a cell by its height, which is that of a short word. */
const ASPECT = 3;

/** Smallest height of a region's widest place, as a share of the image's height. */
const SMALLEST = 0.02;

/** A place for a name, in pixels of the image. */
export interface NamePlace extends Point {
  readonly label: number;
  /** How much room there is to both sides, and above and below. */
  readonly halfWidth: number;
  readonly halfHeight: number;
}

/** For each region but those of a skipped label, the largest rectangle of a word's shape in it; largest first. */
export function namePlaces(labels: Uint16Array, { width, height }: Size, skipped: number): NamePlace[] {
  const rows = Math.min(height, ROWS),
    cellHeight = height / rows;
  const columns = Math.max(1, Math.round(width / (ASPECT * cellHeight))),
    cellWidth = width / columns;
  const grid = new Uint16Array(rows * columns);
  for (let row = 0, at = 0; row < rows; row++) {
    const line = Math.floor((row + 0.5) * cellHeight) * width;
    for (let column = 0; column < columns; column++) grid[at++] = labels[line + Math.floor((column + 0.5) * cellWidth)];
  }
  const size = { width: columns, height: rows };
  // diagonally as far as along an axis
  const room = distances(grid, size, 1, 1);
  const places: NamePlace[] = [];
  for (const at of peaks(grid, room, size)) {
    const row = Math.floor(at / columns),
      column = at % columns;
    // the distance to the middle of the nearest cell outside, less half a cell
    const cells = room[at] - 0.5;
    if (grid[at] === skipped || cells / rows < SMALLEST / 2) continue;
    const [x, y] = [(column + 0.5) * cellWidth, (row + 0.5) * cellHeight];
    places.push({ label: grid[at], x, y, halfWidth: cells * cellWidth, halfHeight: cells * cellHeight });
  }
  return places.sort((one, other) => other.halfWidth - one.halfWidth);
}

/** For each region of the grid, the cell with the most room; the one nearest to the region's middle if there are more. */
function peaks(grid: Uint16Array, room: Uint16Array, size: Size): number[] {
  const result: number[] = [];
  for (const runs of regions(grid, size)) {
    const cells: number[] = [];
    forRuns(runs, (cell) => cells.push(cell));
    const most = cells.reduce((best, at) => Math.max(best, room[at]), 0);
    const widest = cells.filter((at) => room[at] === most).sort((one, other) => one - other);
    const rowOf = (at: number) => Math.floor(at / size.width);
    // of the row of the middle one, the middle cell
    const inRow = widest.filter((at) => rowOf(at) === rowOf(widest[widest.length >> 1]));
    result.push(inRow[inRow.length >> 1]);
  }
  return result;
}

/** From an image to a canvas: a place (x, y) of the image is at (scale x + this.x, scale y + this.y) of the canvas. */
export interface View extends Point {
  readonly scale: number;
}

type Context = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;

/** Write the names of labels (null: none) where their regions have room for about this size [px of the canvas]. */
export function drawNames(
  context: Context,
  places: readonly NamePlace[],
  nameOf: (label: number) => string | null,
  { scale, x, y }: View,
  size: number,
): void {
  context.save();
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const place of places) {
    const name = nameOf(place.label);
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
