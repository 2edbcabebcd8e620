import assert from "node:assert/strict";
import { test } from "node:test";

import { Edits } from "../src/labels/edits";
import { Labeling, NONE } from "../src/labels/labeling";
import { cut, dissolve, divide, joinTouched, makeObjects, merge } from "../src/labels/objects";
import { objectFigures, objectMap } from "../src/labels/objects";
import { context, labeling, rows, seeded } from "./labeled";

/** Labels 0 (person), 1 (dog), ... from rows of digits. */
function labeled(...lines: string[]): Labeling {
  return labeling(lines, ["person, human", "dog", "wall"]);
}

/** Objects as rows of digits; a dot is none. */
function objects(labeling: Labeling): string[] {
  const numbers = objectMap(labeling) ?? labeling.labels.map(() => 0);
  return rows(numbers.map((number) => number || NONE), labeling.width);
}

function count(labeling: Labeling, label = 0): number {
  return objectFigures(labeling).filter((one) => one.label === label).length;
}

test("each connected region of a word becomes an object, over corners too; specks join the nearest or stay out", () => {
  const image = labeled("00...11", ".0...11", "..0....", ".......", "..0..00");
  makeObjects(image, 0, 2);
  assert.deepEqual(objects(image), ["11.....", ".1.....", "..1....", ".......", "..1..22"]);
  const [large, small] = [{ left: 0, top: 0, right: 3, bottom: 5 }, { left: 5, top: 4, right: 7, bottom: 5 }];
  assert.deepEqual(objectFigures(image), [
    { number: 1, label: 0, rank: 1, pixels: 5, box: large, middle: { x: 1, y: 0.5 } },
    { number: 2, label: 0, rank: 2, pixels: 2, box: small, middle: { x: 6, y: 4.5 } },
  ]);
  // what has an object keeps it, and other words have their own
  makeObjects(image, 0, 2);
  makeObjects(image, 1, 5);
  assert.equal(count(image), 2);
  assert.equal(count(image, 1), 0);
  image.edits.finish();
  // far from every object, a speck has none
  const wide = labeled(`000${".".repeat(200)}0`);
  makeObjects(wide, 0, 2);
  assert.equal(objects(wide)[0], `111${".".repeat(201)}`);
});

test("a line across an object divides it, and the line's pixels go to the nearer piece", () => {
  const image = labeled("0000000", "0000000", "0000000", "1111111");
  makeObjects(image, 0, 1);
  makeObjects(image, 1, 1);
  const pieces = cut(image, [{ x: 2.5, y: -1 }, { x: 2.5, y: 2.5 }], null);
  assert.deepEqual(objects(image), ["3331111", "3331111", "3331111", "2222222"]);
  assert.deepEqual(pieces.sort(), [1, 3]);
  // one that ends inside divides nothing, nor does one that is across another object than those chosen
  assert.deepEqual(cut(image, [{ x: 4.5, y: -1 }, { x: 4.5, y: 1.5 }], null), []);
  assert.deepEqual(cut(image, [{ x: 4.5, y: -1 }, { x: 4.5, y: 2.7 }], [2]), []);
  // a diagonal has no gaps
  assert.equal(cut(image, [{ x: 2.2, y: 0 }, { x: 6.9, y: 3 }], [1]).length, 2);
  assert.equal(count(image), 3);
});

test("an object divides itself into its regions, or where it is narrow", () => {
  const image = labeled("..000.....000..", ".00000...00000.", "000000000000000", ".00000...00000.", "..000.....000..");
  makeObjects(image, 0, 1);
  assert.equal(divide(image, 1).length, 2);
  assert.equal(count(image), 2);
  const [one, other] = objectFigures(image);
  assert.ok(Math.abs(one.pixels - other.pixels) <= 3 && (one.box.right <= 9 || other.box.right <= 9));
  // a round shape has no neck
  const round = labeled("..000..", ".00000.", "0000000", ".00000.", "..000..");
  makeObjects(round, 0, 1);
  assert.deepEqual(divide(round, 1), []);
  const parts = labeled("00.00.00");
  makeObjects(parts, 0, 1);
  merge(parts, [1, 2, 3]);
  assert.equal(divide(parts, 1).length, 3);
  assert.equal(count(parts), 3);
  // specks that joined an object go with the nearer region
  const wide = "0".repeat(200);
  const specks = labeled(`${wide}..0.${wide}`, `${wide}....${wide}`);
  makeObjects(specks, 0, 2);
  merge(specks, [1, 2]);
  assert.deepEqual([divide(specks, 1).length, count(specks)], [2, 2]);
  assert.equal(specks.object(202), specks.object(204));
});

test("objects of one word are united and dissolved; they and corrections have one history", () => {
  const image = labeled("00.00.11");
  const { edits } = image;
  const end = () => assert.ok(edits.finish());
  makeObjects(image, 0, 1);
  makeObjects(image, 1, 1);
  end();
  merge(image, [1, 3]);
  assert.equal(edits.finish(), null);
  merge(image, [1, 2]);
  end();
  assert.deepEqual(objects(image), ["11.11.33"]);
  image.take(edits.paint(Int32Array.of(0, 4), 1)!);
  end();
  // what lost its word lost its object, and the word of object 1 is in one pixel now
  assert.deepEqual(objects(image), ["....1.33"]);
  dissolve(image, [3]);
  end();
  assert.deepEqual(objects(image), ["....1..."]);
  const back = ["....1.33", "11.11.33", "11.22.33", "........"];
  for (const row of back) {
    image.take(edits.undo()!);
    assert.deepEqual(objects(image), [row]);
  }
  assert.ok(!edits.canUndo);
  for (const row of [...back.slice(0, -1).reverse(), "....1..."]) {
    image.take(edits.redo()!);
    assert.deepEqual(objects(image), [row]);
  }
  const again = new Edits(8, 1, structuredClone(edits.saved));
  assert.deepEqual(objects(new Labeling(image.found, again, context())), ["....1..."]);
  again.undo();
  assert.deepEqual(objects(new Labeling(image.found, again, context())), ["....1.33"]);
  again.clear();
  assert.equal(objectMap(new Labeling(image.found, again, context())), null);
});

test("painted pixels join the object that they touch, or the nearer of two; alone they are a new one", () => {
  const image = labeled("00......00....", "00......00....", "..........1...", "..............", "0.............");
  const { edits } = image;
  const paint = (word: number, ...runs: number[]) => {
    const counted = new Set(objectFigures(image).map(({ label }) => label));
    image.take(edits.paint(Int32Array.from(runs), word)!);
    joinTouched(image, counted);
    edits.finish();
  };
  paint(0, 13, 1);
  assert.equal(objectMap(image), null, "a word without objects gets none");
  image.take(edits.undo()!);
  makeObjects(image, 0, 2);
  edits.finish();
  const [left, right] = ["11", "22"];
  paint(0, 2, 1, 12, 1);
  assert.deepEqual(objects(image)[0], `${left}1.....${right}..3.`);
  paint(1, 10 + 14, 1);
  paint(0, 3, 5);
  assert.deepEqual(objects(image)[0], "1111112222..3.");
  assert.deepEqual(objects(image)[2], "..............");
  // beside the rest of the word, which belongs to none, it stays without one
  paint(0, 4 * 14 + 1, 1);
  assert.deepEqual(objects(image)[4], "..............");
  image.take(edits.undo()!);
  image.take(edits.undo()!);
  assert.deepEqual(objects(image)[0], `${left}1.....${right}..3.`);
});

test("whatever is done, labels stay, objects keep to their words, and undo leads back exactly", () => {
  const below = seeded(11);
  for (let round = 0; round < 25; round++) {
    const [width, height] = [12 + below(20), 12 + below(20)];
    const lines = Array.from({ length: height }, () => "2".repeat(width).split(""));
    for (let blob = 0; blob < 6; blob++) {
      const [x, y, radius, word] = [below(width), below(height), 1 + below(6), below(2)];
      for (let row = 0; row < height; row++)
        for (let column = 0; column < width; column++)
          if ((row - y) ** 2 + (column - x) ** 2 < radius ** 2) lines[row][column] = String(word);
    }
    const image = labeled(...lines.map((line) => line.join("")));
    const { edits } = image;
    const point = () => ({ x: below(100 * (width + 6)) / 100 - 3, y: below(100 * (height + 6)) / 100 - 3 });
    const states = [objects(image).join()];
    for (let step = 0; step < 40; step++) {
      const all = objectFigures(image),
        labels = image.labels.slice(),
        one = all[below(all.length)];
      const kind = below(6);
      const other = all[below(all.length)];
      if (kind === 0 || !one) makeObjects(image, below(2), 3);
      else if (kind === 1) cut(image, [point(), point(), point()], null);
      else if (kind === 2) divide(image, one.number);
      else if (kind === 3) merge(image, [one.number, other.number]);
      else if (kind === 4) dissolve(image, [one.number]);
      else {
        const counted = new Set(all.map(({ label }) => label));
        const change = edits.paint(Int32Array.of(below(height) * width, width), below(3));
        if (change) image.take(change);
        labels.set(image.labels);
        joinTouched(image, counted);
      }
      assert.deepEqual(image.labels, labels, "objects don't change labels");
      const now = objectFigures(image);
      assert.ok(now.every(({ label }) => label < 2));
      const [before, after] = [all, now].map((some) => some.reduce((sum, { pixels }) => sum + pixels, 0));
      if ([1, 2, 3].includes(kind) && one) assert.equal(after, before, "dividing and uniting keeps all pixels");
      if ([1, 2].includes(kind) && one) assert.ok(now.length >= all.length);
      if (kind === 3 && one && one !== other && one.label === other.label) assert.equal(now.length, all.length - 1);
      for (const { number, middle } of now)
        assert.equal(image.object(Math.floor(middle.y) * width + Math.floor(middle.x)), number);
      if (edits.finish()) states.push(objects(image).join());
    }
    const last = states.length - 1;
    for (let at = last - 1; at >= 0; at--) {
      image.take(edits.undo()!);
      assert.equal(objects(image).join(), states[at]);
    }
    assert.ok(!edits.canUndo);
    for (let at = 1; at <= last; at++) {
      image.take(edits.redo()!);
      assert.equal(objects(image).join(), states[at]);
    }
  }
});
