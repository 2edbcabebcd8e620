/** Polygons of a scripted annotator with straight and with snapping sides; `snapping.py` runs it. */

import { readFileSync } from "node:fs";

import { outlines } from "../web/src/labels/contours";
import { corners, edgeCosts, strongestNear, wayBetween } from "../web/src/labels/live_wire";
import type { Point, Size } from "../web/src/labels/runs";
import { polygon } from "../web/src/labels/shapes";

/** How far the page moves corners [px]. */
const NEAR = 2;

interface Region extends Size {
  readonly pixels: Uint8ClampedArray;
  readonly inside: Uint8Array;
  readonly known: Uint8Array;
}

function readRegion(folder: string, number: number, { width, height }: Size): Region {
  const bytes = new Uint8Array(readFileSync(`${folder}/${number}.bin`));
  const all = width * height;
  return {
    width,
    height,
    pixels: new Uint8ClampedArray(bytes.slice(0, 4 * all)),
    inside: bytes.slice(4 * all, 5 * all),
    known: bytes.slice(5 * all),
  };
}

/** So many corners of an outline; those without which it changes least are left out (Visvalingam and Whyatt, 1993). */
function simplified(outline: readonly Point[], count: number): Point[] {
  const points = [...outline];
  const area = (one: Point, two: Point, three: Point) =>
    Math.abs((two.x - one.x) * (three.y - one.y) - (two.y - one.y) * (three.x - one.x));
  while (points.length > count) {
    const areas = points.map((point, at) => area(points.at(at - 1)!, point, points[(at + 1) % points.length]));
    points.splice(areas.indexOf(Math.min(...areas)), 1);
  }
  return points;
}

/** So many places of an outline, equally far apart on it. */
function spread(outline: readonly Point[], count: number): Point[] {
  const ends: number[] = [];
  for (const [at, one] of outline.entries()) {
    const next = outline[(at + 1) % outline.length];
    ends.push((ends.at(-1) ?? 0) + Math.hypot(next.x - one.x, next.y - one.y));
  }
  return Array.from({ length: count }, (_, number) => {
    const along = (number * ends.at(-1)!) / count;
    const at = ends.findIndex((end) => end > along);
    const [one, next] = [outline[at], outline[(at + 1) % outline.length]];
    const share = (along - (ends[at - 1] ?? 0)) / (ends[at] - (ends[at - 1] ?? 0));
    return { x: one.x + share * (next.x - one.x), y: one.y + share * (next.y - one.y) };
  });
}

/** Normal numbers, always the same. */
function* normal(seed: number): Generator<number, never> {
  const uniform = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (;;) yield Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

function iou(points: readonly Point[], { inside, known, ...size }: Region): number {
  const drawn = new Uint8Array(inside.length);
  const runs = polygon(points, size);
  for (let run = 0; run < runs.length; run += 2) drawn.fill(1, runs[run], runs[run] + runs[run + 1]);
  let [both, either] = [0, 0];
  for (let at = 0; at < drawn.length; at++) {
    both += known[at] & drawn[at] & inside[at];
    either += known[at] & (drawn[at] | inside[at]);
  }
  return both / either;
}

const [folder, counts, shake] = process.argv.slice(2);
const sizes = JSON.parse(readFileSync(`${folder}/sizes.json`, "utf8")) as Size[];
const rows: { placed: string; corners: number; straight: number; snapped: number; ms: number }[] = [];
for (const [number, size] of sizes.entries()) {
  const region = readRegion(folder, number, size);
  const found = outlines(Uint16Array.from(region.inside), size, 0, 0).map(({ points }) => points);
  const outline = found.reduce((most, other) => (other.length > most.length ? other : most));
  const costs = edgeCosts(region.pixels, size);
  for (const [placed, place] of Object.entries({ best: simplified, spread })) {
    for (const count of counts.split(",").map(Number)) {
      const noise = normal(1 + number);
      const moved = (value: number, most: number) => Math.max(0, Math.min(most, value + Number(shake) * noise.next().value));
      const straight = place(outline, count).map(({ x, y }) => ({ x: moved(x, size.width), y: moved(y, size.height) }));
      const start = performance.now();
      const near = straight.map((corner) => strongestNear(costs, corner, NEAR));
      const sides = near.flatMap((corner, at) => corners(wayBetween(costs, corner, near[(at + 1) % near.length])).slice(0, -1));
      const ms = (performance.now() - start) / count;
      rows.push({ placed, corners: count, straight: iou(straight, region), snapped: iou(sides, region), ms });
    }
  }
}
console.log(JSON.stringify(rows));
