// Views of objects; tests/inference/test_clicks.py has the same cases.
import assert from "node:assert/strict";
import { test } from "node:test";

import { boxed, boxOfPositive, clicked, connectedTo, glanced, nextView } from "../src/clicks/guess";
import { positiveRuns, resampled, viewAround, type ViewNetwork } from "../src/clicks/guess";
import type { Box } from "../src/labels/runs";
import type { Grid } from "../src/onnx/feature_maps";

const box = (left: number, top: number, right: number, bottom: number): Box => ({ left, top, right, bottom });
const IMAGE = box(0, 0, 1000, 600);

test("a view has room around an object and stays in the image", () => {
  assert.deepEqual(viewAround(box(400, 200, 500, 300), IMAGE), box(378, 178, 522, 322));
  assert.deepEqual(viewAround(box(950, 560, 1000, 600), IMAGE), box(856, 456, 1000, 600));
  // at most twice as long as high
  assert.deepEqual(viewAround(box(100, 300, 500, 310), IMAGE), box(20, 165, 580, 445));
  assert.deepEqual(viewAround(box(100, 50, 900, 550), IMAGE), IMAGE);
});

test("small objects are looked at closely, and cut ones from farther away", () => {
  const near = box(378, 178, 522, 322);
  assert.deepEqual(nextView(IMAGE, box(400, 200, 500, 300), IMAGE), near);
  assert.deepEqual(nextView(near, box(400, 200, 500, 300), IMAGE), near);
  assert.deepEqual(nextView(near, box(378, 200, 500, 300), IMAGE), box(353, 178, 524, 322));
  assert.deepEqual(nextView(near, box(100, 200, 500, 300), IMAGE), box(20, 110, 580, 390));
});

test("regions without a positive click are other objects, unless no region has one", () => {
  const grid: Grid = { rows: 2, columns: 4, values: Float32Array.from([3, -1, 2, 2, 3, -1, -1, 2]) };
  const view = box(0, 0, 8, 4), click = (x: number, adds = true) => ({ x, y: 1, adds });
  const signs = (...clicks: Parameters<typeof connectedTo>[0]) =>
    [...connectedTo(clicks, view, grid).values].map((value) => Number(value > 0));
  assert.deepEqual(signs(click(1)), [1, 0, 0, 0, 1, 0, 0, 0]);
  assert.deepEqual(signs(click(1), click(5)), [1, 0, 1, 1, 1, 0, 0, 1]);
  assert.deepEqual(signs(click(3), click(1, false)), [1, 0, 1, 1, 1, 0, 0, 1]);
});

test("a mask moves from view to view", () => {
  const grid: Grid = { rows: 2, columns: 2, values: Float32Array.from([0, 4, 8, 12]) };
  const small = box(0, 0, 4, 4), large = box(0, 0, 8, 4), size = { rows: 2, columns: 4 };
  assert.deepEqual([...resampled(grid, small, small, size, -9).values], [0, 1, 3, 4, 8, 9, 11, 12]);
  assert.deepEqual([...resampled(grid, small, large, size, -9).values], [0, 4, -9, -9, 8, 12, -9, -9]);
  const high = { ...grid, values: grid.values.map((value) => value - 5) };
  assert.deepEqual(boxOfPositive(high, large), box(0, 2, 8, 4));
  assert.equal(boxOfPositive({ ...grid, values: grid.values.map(() => -1) }, large), null);
  assert.deepEqual([...positiveRuns(high, box(2, 1, 6, 5), { width: 10, height: 8 })], [25, 1, 32, 4, 42, 4]);
});

/** A network that finds a rectangle of the image, whatever is clicked. */
function finding(object: Box, asked: Box[]): ViewNetwork {
  const size = () => ({ rows: 100, columns: 100 });
  return {
    image: { width: 1000, height: 600 },
    size,
    async run(view, clicks, mask) {
      asked.push(view);
      assert.equal(clicks.length % 3, 0);
      assert.equal(mask.values.length, 10_000);
      const values = Float32Array.from({ length: 10_000 }, (_, at) => {
        const x = view.left + ((at % 100) + 0.5) * ((view.right - view.left) / 100);
        const y = view.top + (Math.floor(at / 100) + 0.5) * ((view.bottom - view.top) / 100);
        return x > object.left && x < object.right && y > object.top && y < object.bottom ? 5 : -5;
      });
      return { ...size(), values };
    },
  };
}

test("a small object is clicked in the whole image, and then looked at closely", async () => {
  const asked: Box[] = [];
  const network = finding(box(400, 200, 500, 300), asked);
  const glance = await glanced(network, { x: 450, y: 250, adds: true });
  assert.deepEqual([asked.splice(0), glance.view], [[IMAGE], IMAGE]);
  const first = await clicked(network, null, { x: 450, y: 250, adds: true });
  // the rows of the network's grid are 6 px high
  const near = box(378, 177, 522, 321);
  assert.deepEqual(asked, [IMAGE, near]);
  assert.deepEqual(first.view, near);
  const second = await clicked(network, first, { x: 410, y: 210, adds: false });
  assert.deepEqual(asked.slice(2), [near]);
  assert.equal(second.clicks.length, 2);
  // what isn't in the view any more is looked for from farther away
  const third = await clicked(network, second, { x: 900, y: 250, adds: false });
  assert.ok(third.clicks.length === 3 && asked[3].right > 900);
});

test("a box begins with the view around it", async () => {
  const asked: Box[] = [];
  const guess = await boxed(finding(box(400, 200, 500, 300), asked), box(390, 190, 510, 310));
  assert.deepEqual(asked, [viewAround(box(390, 190, 510, 310), IMAGE)]);
  assert.deepEqual(guess.box, box(390, 190, 510, 310));
});
