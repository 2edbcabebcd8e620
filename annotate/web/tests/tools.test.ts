import assert from "node:assert/strict";
import { test } from "node:test";

import { regionAt, regionsIn, surroundings } from "../src/labels/connected";
import { cellsOf, fitted, runsOfCells } from "../src/labels/fitting";
import { edgeCosts, wayBetween } from "../src/labels/live_wire";
import { commonPixels, pixelsOf, type Point, polygon } from "../src/labels/runs";
import { framed, toStage } from "../src/page/stage/navigation";
import { map, rows } from "./labeled";

/** RGBA of an image from what each pixel's gray value is. */
function gray(width: number, height: number, value: (x: number, y: number) => number): Uint8ClampedArray {
  const pixels = new Uint8ClampedArray(4 * width * height).fill(255);
  for (let at = 0; at < width * height; at++)
    pixels.fill(value(at % width, Math.floor(at / width)), 4 * at, 4 * at + 3);
  return pixels;
}

/** The ways between places that follow each other. */
function throughAll(costs: Parameters<typeof wayBetween>[0], places: readonly Point[]): Point[] {
  return [...places.slice(1).flatMap((to, at) => wayBetween(costs, places[at], to).slice(0, -1)), places.at(-1)!];
}

test("ways between places follow a curved edge better than straight lines", () => {
  const [width, height] = [90, 60];
  const border = (x: number) => Math.round(30 + 12 * Math.sin(x / 14));
  // with some noise, which has weaker edges
  const pixels = gray(width, height, (x, y) => (y < border(x) ? 200 : 60) + ((x * 31 + y * 17) % 13));
  const places = [5, 25, 45, 65, 85].map((x) => ({ x, y: border(x) }));
  const path = throughAll(edgeCosts(pixels, { width, height }), places);
  for (const { x, y } of path) assert.ok(Math.abs(y - border(x)) <= 1.5, `(${x}, ${y}) isn't near ${border(x)}`);
  /** Pixels on the wrong side, once a line is closed below the edge. */
  const wrong = (line: readonly Point[]) => {
    const inside = polygon([...line, { x: 85, y: 60 }, { x: 5, y: 60 }], { width, height });
    const isInside = new Uint8Array(width * height);
    for (let run = 0; run < inside.length; run += 2) isInside.fill(1, inside[run], inside[run] + inside[run + 1]);
    let count = 0;
    for (let x = 5; x < 85; x++) for (let y = 0; y < height; y++) count += Number(Boolean(isInside[y * width + x]) !== y >= border(x));
    return count;
  };
  assert.ok(wrong(path) < 30, `${wrong(path)} pixels are on the wrong side`);
  assert.ok(wrong(places) > 3 * wrong(path));
});

test("a way between places that are far apart keeps to a weak edge beside a strong one", () => {
  const size = { width: 300, height: 200 };
  // a weak edge at 100, and a strong one at 140
  const costs = edgeCosts(gray(300, 200, (_, y) => (y < 100 ? 90 : y < 140 ? 110 : 250)), size);
  const path = wayBetween(costs, { x: 10, y: 100 }, { x: 290, y: 100 });
  assert.ok(path.every(({ y }) => y === 100));
  // along the border of the image, too
  assert.ok(wayBetween(costs, { x: 0, y: 4 }, { x: 0, y: 90 }).every(({ x }) => x === 0));
});

test("what is around a region grows into its place, the nearest first", () => {
  const image = map("000000", "011112", "011112", "011112", "011112", "011112");
  const grown = (at: number) => {
    const labels = image.labels.slice();
    for (const [label, runs] of surroundings(labels, regionAt(labels, image, at), image))
      for (let run = 0; run < runs.length; run += 2) labels.fill(label, runs[run], runs[run] + runs[run + 1]);
    return rows(labels, image.width);
  };
  assert.deepEqual(grown(7).slice(4), ["000222", "000222"]);
  assert.deepEqual(grown(11)[3], "011111");
  const gap = map("1.2", "1.2");
  const all = surroundings(gap.labels, Int32Array.of(1, 1, 4, 1), gap);
  assert.equal([...all.values()].reduce((sum, runs) => sum + runs[1] + (runs[3] ?? 0), 0), 2);
  assert.ok(!all.has(65535));
  const alone = map("000");
  assert.equal(surroundings(alone.labels, Int32Array.of(0, 3), alone).size, 0);
});

test("a rectangle is shown as large as it fits, in the middle", () => {
  const [image, stage] = [{ width: 4000, height: 3000 }, { width: 800, height: 600 }];
  const view = framed({ left: 1000, top: 1000, right: 1200, bottom: 1400 }, image, stage);
  assert.ok(Math.abs(view.scale - 576 / 400) < 1e-9);
  const middle = toStage(view, { x: 1100, y: 1200 });
  assert.ok(Math.hypot(middle.x - 400, middle.y - 300) < 1e-6);
  assert.equal(framed({ left: 5, top: 5, right: 6, bottom: 6 }, image, stage).scale, 40);
});

test("a border grows and shrinks to the edge of the image near it", () => {
  const size = { width: 60, height: 40 };
  const isIn = (x: number, y: number) => x >= 20 && x < 40 && y >= 10 && y < 30;
  const pixels = gray(size.width, size.height, (x, y) => (isIn(x, y) ? 200 : 60) + ((x * 31 + y * 17) % 9));
  const square = (by: number) =>
    Uint16Array.from({ length: 2400 }, (_, at) => {
      const [x, y] = [at % 60, Math.floor(at / 60)];
      return Number(x >= 20 - by && x < 40 + by && y >= 10 - by && y < 30 + by);
    });
  const wrong = (mask: Uint8Array) => mask.reduce((sum, inside, at) => sum + Number(Boolean(inside) !== isIn(at % 60, Math.floor(at / 60))), 0);
  assert.ok(wrong(fitted(square(-4), pixels, size, "grow", 8)!) <= 80);
  assert.ok(wrong(fitted(square(4), pixels, size, "shrink", 8)!) <= 80);
  assert.ok(wrong(Uint8Array.from(square(-4))) > 200);
  assert.equal(fitted(square(-9), pixels, size, "shrink", 8), null);
});

test("a region comes back from cells of its size, and with fewer cells nearly", () => {
  const width = 50,
    box = { left: 10, top: 5, right: 40, bottom: 35 };
  const runs = polygon([{ x: 12, y: 6 }, { x: 38, y: 12 }, { x: 20, y: 33 }], { width, height: 40 });
  const again = (size: { width: number; height: number }) =>
    runsOfCells(Uint8Array.from(cellsOf(runs, width, box, size)), width, box, size);
  assert.deepEqual(again({ width: 30, height: 30 }), runs);
  const coarse = again({ width: 15, height: 15 });
  assert.ok(commonPixels(coarse, runs) > 0.85 * pixelsOf(runs) && pixelsOf(coarse) < 1.15 * pixelsOf(runs));
});

test("a box chooses the regions that lie in it, most of each", () => {
  const image = map("0000000", "0110220", "0110220", "0000020", "0000020");
  const pixels = (left: number, top: number, right: number, bottom: number) => {
    const labels = image.labels.slice();
    const runs = regionsIn(labels, image, { left, top, right, bottom });
    for (let at = 0; at < runs.length; at += 2) labels.fill(9, runs[at], runs[at] + runs[at + 1]);
    return rows(labels, image.width);
  };
  assert.deepEqual(pixels(0, 0, 7, 4), ["0000000", "0990990", "0990990", "0000090", "0000020"]);
  assert.deepEqual(pixels(1, 1, 6, 3), ["0000000", "0990220", "0990220", "0000020", "0000020"]);
});
