import assert from "node:assert/strict";
import { test } from "node:test";

import { namePlaces } from "../src/imaging/names";
import { wordColor } from "../src/imaging/palette";
import { regionAt } from "../src/labels/connected";
import { Edits, idsOf, wordOf } from "../src/labels/edits";
import { figures, Labeling, NONE, partFigures } from "../src/labels/labeling";
import { BAND, difference, mapped, packed, unpacked, unpackedPart } from "../src/labels/layer";
import { polygon, stroke } from "../src/labels/runs";
import { ALL, context, draft, map, rows, seeded } from "./labeled";

const SIZE = { width: 7, height: 5 };

function painted(runs: Int32Array, { width, height } = SIZE): string[] {
  const layer = new Uint16Array(width * height).fill(65535);
  for (let at = 0; at < runs.length; at += 2) layer.fill(1, runs[at], runs[at] + runs[at + 1]);
  return rows(layer, width);
}

test("a region goes over edges, not over corners, and not around the image", () => {
  const image = map("1100", "0110", "0001", "1001");
  assert.deepEqual(painted(regionAt(image.labels, image, 0), image), ["11..", ".11.", "....", "...."]);
  assert.deepEqual(painted(regionAt(image.labels, image, 11), image), ["....", "....", "...1", "...1"]);
  const spiral = map("00000", "11110", "00010", "01110", "00000");
  assert.equal(painted(regionAt(spiral.labels, spiral, 0), spiral).join("").match(/1/g)!.length, 17);
});

test("a brush paints a disc, or the way between two of them; a small one still the pixel below it", () => {
  const brush = (from: number[], to: number[], radius: number) =>
    painted(stroke({ x: from[0], y: from[1] }, { x: to[0], y: to[1] }, radius, SIZE));
  const none = ".......";
  assert.deepEqual(brush([2.5, 2.5], [2.5, 2.5], 1.2), [none, "..1....", ".111...", "..1....", none]);
  assert.deepEqual(brush([1.5, 1.5], [5.5, 1.5], 0.6), [none, ".11111.", none, none, none]);
  assert.deepEqual(brush([3.1, 4.9], [3.1, 4.9], 0.1), [none, none, none, none, "...1..."]);
  assert.equal(stroke({ x: -9, y: -9 }, { x: -9, y: -9 }, 1, SIZE).length, 0);
  // the way along a diagonal has no gaps
  assert.ok(brush([0.5, 0.5], [4.5, 4.5], 0.9).every((row, y) => row[y] === "1"));
});

test("a polygon has the pixels whose centers lie inside, by the even-odd rule", () => {
  const square = [{ x: 1, y: 1 }, { x: 5, y: 1 }, { x: 5, y: 4 }, { x: 1, y: 4 }];
  assert.deepEqual(painted(polygon(square, SIZE)), [".......", ".1111..", ".1111..", ".1111..", "......."]);
  const outside = square.map(({ x, y }) => ({ x: 3 * x - 6, y: 3 * y - 6 }));
  assert.deepEqual(painted(polygon(outside, SIZE)), Array(5).fill("1111111"));
  const bow = [{ x: 0, y: 0 }, { x: 6, y: 5 }, { x: 6, y: 0 }, { x: 0, y: 5 }];
  assert.deepEqual(painted(polygon(bow, SIZE)), ["1....1.", "11..11.", "111111.", "11..11.", "1....1."]);
});

test("an undo and a redo leave pixels alone that somebody else changed since", () => {
  const edits = new Edits(4, 1);
  const paint = (start: number, length: number, word: number) => (edits.paint(Int32Array.of(start, length), word), edits.finish());
  paint(0, 4, 0);
  paint(1, 2, 1);
  // somebody else paints the second pixel
  const theirs = new Edits(4, 1, edits.saved);
  theirs.paint(Int32Array.of(1, 1), 5);
  edits.adopt(theirs.saved);
  assert.deepEqual([edits.undo()!.left, [...edits.layer]], [1, [2, 7, 2, 2]]);
  assert.deepEqual([edits.undo()!.left, [...edits.layer]], [1, [0, 7, 0, 0]]);
  assert.deepEqual([edits.redo()!.left, [...edits.layer]], [1, [2, 7, 2, 2]]);
  assert.deepEqual([edits.redo()!.left, [...edits.layer]], [1, [2, 7, 3, 2]]);
});

test("actions are undone and done again, and a new one ends what could be done again", () => {
  const edits = new Edits(4, 2);
  assert.deepEqual(edits.paint(Int32Array.of(1, 2), 0), {
    box: { left: 1, top: 0, right: 3, bottom: 1 },
    runs: Int32Array.of(1, 2, 0, 2),
    left: 0,
  });
  assert.equal(edits.paint(Int32Array.of(1, 2), 0), null);
  edits.paint(Int32Array.of(4, 4), 0);
  assert.ok(edits.finish());
  assert.ok(!edits.finish());
  edits.paint(Int32Array.of(2, 1, 4, 1), null);
  edits.finish();
  assert.deepEqual(Array.from(edits.layer), [0, 2, 1, 0, 1, 2, 2, 2]);
  assert.deepEqual(edits.undo()!.box, { left: 0, top: 0, right: 3, bottom: 2 });
  assert.deepEqual(Array.from(edits.layer), [0, 2, 2, 0, 2, 2, 2, 2]);
  edits.undo();
  assert.equal(edits.undo(), null);
  assert.ok(edits.layer.every((code) => code === 0));
  edits.redo();
  edits.redo();
  assert.deepEqual(Array.from(edits.layer), [0, 2, 1, 0, 1, 2, 2, 2]);
  edits.undo();
  edits.clear();
  assert.ok(!edits.canRedo && edits.layer.every((code) => code === 0));
  edits.undo();
  assert.deepEqual(Array.from(edits.layer), [0, 2, 2, 0, 2, 2, 2, 2]);
});

test("the history has a bounded size, and what is older stays painted", () => {
  const [width, height] = [1000, 800];
  const edits = new Edits(width, height);
  // every second pixel is a stretch of its own
  const comb = Int32Array.from({ length: width * height }, (_, at) => (at % 2 ? 1 : at));
  for (let step = 0; step < 6; step++) {
    edits.paint(comb, step);
    edits.finish();
  }
  const bytes = edits.saved.done.reduce((sum, { runs }) => sum + runs.byteLength, 0);
  assert.ok(bytes <= 16e6 && edits.saved.done.length < 6);
  while (edits.undo());
  assert.ok(edits.layer[0] > 0);
});

test("a packed layer comes back as it was, and a change packs its own bands alone", () => {
  const random = seeded();
  const edits = new Edits(BAND / 8, 20);
  const size = { width: BAND / 8, height: 20 };
  for (let step = 0; step < 40; step++) {
    const from = { x: random(size.width), y: 6 + random(14) };
    edits.paint(stroke(from, { x: random(size.width), y: 6 + random(14) }, 1 + random(4), size), random(3));
    if (random(3)) edits.finish();
    else edits.undo();
    assert.deepEqual(unpacked(edits.saved.layer), edits.layer);
  }
  const before = edits.saved.layer;
  edits.paint(Int32Array.of(2 * BAND + 5, 2), 9);
  const after = edits.saved.layer;
  assert.deepEqual(after.bands.map((band, at) => band === before.bands[at]), [true, true, false]);
  // what changes with every pixel is kept as it is
  const noise = Uint16Array.from({ length: BAND + 100 }, () => random(9));
  assert.ok(packed(noise).bands.every((band) => band instanceof Uint16Array));
  assert.deepEqual(unpacked(mapped(packed(noise), (value) => 3 * value)), noise.map((value) => 3 * value));
});

test("unlikely pixels lose their word, or become background; corrections are certain", () => {
  const answer = draft(["0011"], [0, 1]);
  answer.confidence.set([255, 100, 200, 50]);
  const edits = new Edits(4, 1);
  const other = { id: 2, name: "other", color: wordColor(2), removed: true };
  const words = [...context(["cat", "wall"]).vocabulary, other];
  const labels = (rule = ALL) => new Labeling(answer, edits, { vocabulary: words, rule });
  const names = (labeling: Labeling) => labeling.words.map(({ name }) => name);
  assert.deepEqual(rows(labels({ threshold: 0.5, background: null }).labels, 4), ["0.1."]);
  const background = labels({ threshold: 0.5, background: 2 });
  assert.deepEqual([names(background), rows(background.labels, 4)], [["cat", "wall", "other"], ["0212"]]);
  assert.deepEqual(background.words.map(({ color }) => color.join() === "128,128,128"), [false, false, true]);
  assert.deepEqual([0, 1, 3].map((pixel) => background.confidence(pixel)), [255, 155, 205]);
  // a word that was looked for can be the background, too
  assert.deepEqual(rows(labels({ threshold: 0.5, background: 1 }).labels, 4), ["0111"]);
  assert.deepEqual(names(labels({ threshold: 0, background: 2 })), ["cat", "wall"]);
  edits.paint(Int32Array.of(3, 1), 0);
  const corrected = labels({ threshold: 0.5, background: null });
  assert.deepEqual(rows(corrected.labels, 4), ["0.10"]);
  assert.deepEqual([corrected.confidence(3), edits.isCorrected(3), edits.isCorrected(0)], [255, true, false]);
});

test("corrections keep their word whatever it is called, and while it isn't looked for; words get other ids in all steps", () => {
  const edits = new Edits(4, 1);
  edits.paint(Int32Array.of(0, 1), 7);
  edits.finish();
  edits.paint(Int32Array.of(1, 1), null);
  edits.finish();
  const labels = () => [...new Labeling(draft(["1111"], [0, 1]), edits, context(["cat", "wall"])).labels];
  assert.deepEqual(labels(), [7, 65535, 1, 1]);
  edits.paint(Int32Array.of(0, 1), 1);
  edits.finish();
  edits.renumber(new Map([[7, 8], [8, 7]]));
  assert.deepEqual(labels(), [1, 65535, 1, 1]);
  edits.undo();
  assert.deepEqual(labels(), [8, 65535, 1, 1]);
});

test("what is counted stretch by stretch is what all pixels add up to", () => {
  // pseudo-random numbers that are the same each time
  const random = seeded();
  const size = { width: 40, height: 30 };
  const labels = Uint16Array.from({ length: 1200 }, () => random(3));
  const confidence = Uint8Array.from(labels, () => random(256));
  const names = [{ object: "cat", part: "head", name: "cat's head" }];
  const parts = { names, labels: labels.map((label) => (label === 0 ? 0 : 65535)), colors: [[1, 2, 3]] };
  const answer = { ...draft(["0"], [0, 1, 2]), ...size, labels, confidence, parts };
  const words = context(["cat", "wall", "dog"]);
  for (const background of [null, 1, 5]) {
    const edits = new Edits(size.width, size.height);
    const rule = { threshold: 0.5, background };
    const labeling = new Labeling(answer, edits, { ...words, rule });
    for (let step = 0; step < 60; step++) {
      const from = { x: random(40), y: random(30) },
        to = { x: random(40), y: random(30) };
      const runs = stroke(from, to, 1 + random(4), size);
      // the last one isn't looked for
      const choice = [0, 1, null, undefined, 9][random(5)];
      const change = [() => edits.undo(), () => edits.redo()][random(5)] ?? (() => edits.paint(runs, choice));
      // some actions give several words
      if (random(2)) edits.finish();
      const done = change();
      if (done) labeling.take(done);
    }
    const again = new Labeling(answer, edits, { ...words, rule });
    assert.deepEqual(labeling.labels, again.labels);
    assert.deepEqual(labeling.tally, again.tally);
    assert.ok(again.tally.corrected > 100);
    const undecided = Array.from(again.labels.keys()).filter((pixel) => !edits.isCorrected(pixel));
    const doubt = undecided.reduce((sum, pixel) => sum + 255 - again.confidence(pixel), 0);
    assert.equal(again.tally.doubt.reduce((sum, one) => sum + one), doubt);
    assert.equal(again.tally.undecided.reduce((sum, one) => sum + one), undecided.length);
    assert.equal(again.tally.corrected, 1200 - undecided.length);
    const sure = Array.from(again.labels).reduce((sum, label, at) => sum + (label === 0 ? again.confidence(at) : 0), 0);
    assert.equal(again.tally.confidence[0], sure);
  }
});

test("figures count pixels, parts only where the word is still the one that was found", () => {
  const names = [{ object: "cat", part: "head", name: "cat's head" }];
  const parts = { names, labels: Uint16Array.of(0, 0, 65535, 65535), colors: [[1, 2, 3]] };
  const edits = new Edits(4, 1);
  edits.paint(Int32Array.of(1, 1), 1);
  const answer = { ...draft(["0001"], [0, 1, 2], 0.6), parts };
  const labeling = new Labeling(answer, edits, context(["cat", "wall", "dog"]));
  const [cat, wall, dog] = figures(labeling);
  assert.deepEqual([cat.pixels, cat.fraction, cat.confidence], [2, 0.5, 0.6]);
  assert.deepEqual([wall.pixels, wall.confidence], [2, 0.8]);
  assert.deepEqual([dog.pixels, dog.confidence], [0, null]);
  assert.deepEqual(partFigures(labeling).map(({ name, pixels }) => [name, pixels]), [["cat's head", 1]]);
});

test("a name stands in the widest place of its region, inside of it", () => {
  const labels = new Uint16Array(300 * 200).fill(1);
  // a wide bar at the top of the image, and a spot that is too small
  for (let y = 10; y < 50; y++) labels.fill(0, y * 300 + 40, y * 300 + 260);
  labels.fill(2, 150 * 300 + 10, 150 * 300 + 13);
  const places = namePlaces(labels, { width: 300, height: 200 }, 65535);
  assert.deepEqual(places.map(({ label }) => label).sort(), [0, 1]);
  const bar = places.find(({ label }) => label === 0)!;
  assert.ok(Math.abs(bar.x - 150) < 15 && Math.abs(bar.y - 30) < 4, JSON.stringify(bar));
  assert.ok(bar.halfHeight > 14 && bar.halfHeight <= 20 && bar.halfWidth > 42, JSON.stringify(bar));
  const rest = places.find(({ label }) => label === 1)!;
  assert.ok(rest.y > 60 && rest.y - rest.halfHeight >= 48, JSON.stringify(rest));
  assert.deepEqual(namePlaces(labels.fill(65535), { width: 300, height: 200 }, 65535), []);
});

test("what a whole region got is corrected, and gives way to clicks, also with other ids and after saving", () => {
  const edits = new Edits(4, 1);
  edits.paint(Int32Array.of(0, 3), 4, "loose");
  edits.paint(Int32Array.of(1, 1), 4);
  edits.paint(Int32Array.of(2, 1), null, "loose");
  edits.finish();
  const firm = ({ layer }: Edits) => Array.from(layer.keys(), (pixel) => [edits.isCorrected(pixel), edits.isFirm(pixel)]);
  const wanted = [[true, false], [true, true], [true, false], [false, false]];
  assert.deepEqual(firm(edits), wanted);
  assert.deepEqual(Array.from(edits.layer, wordOf), [4, 4, null, null]);
  assert.deepEqual(idsOf(edits.layer), [4]);
  edits.renumber(new Map([[4, 9]]));
  assert.deepEqual(firm(new Edits(4, 1, edits.saved)), wanted);
  assert.deepEqual(Array.from(edits.layer, wordOf), [9, 9, null, null]);
  const { labels, tally } = new Labeling(draft(["1111"], [0, 1]), edits, context(["a", "b", "c"], ALL, [0, 1, 9]));
  assert.deepEqual([[...labels], tally.corrected], [[9, 9, NONE, 1], 3]);
});

test("a draft that is smaller than its image gives each pixel the nearest of its labels", () => {
  const small = { ...draft(["0.1", "111"], [4, 6], 0.8), parts: { names: [], colors: [], labels: Uint16Array.of(0, 1, 2, 3, 4, 5) } };
  small.confidence[0] = 20;
  const edits = new Edits(6, 4);
  edits.paint(Int32Array.of(8, 2), 4);
  edits.finish();
  const labeling = new Labeling(small, edits, context(["a", "b"], { threshold: 0.5, background: null }, [4, 6]));
  assert.deepEqual(rows(labeling.labels, 6), ["....66", "..4466", "666666", "666666"]);
  assert.deepEqual([labeling.confidence(4), labeling.confidence(8), labeling.confidence(0)], [204, 255, 20]);
  assert.deepEqual([labeling.part(4), labeling.part(23), labeling.part(8)], [2, 5, NONE]);
  const { pixels, corrected } = labeling.tally;
  assert.deepEqual([pixels[4], pixels[6], pixels[NONE], corrected], [2, 16, 6, 2]);
});

test("where two layers differ is told in whole bands, and parts of them come back", () => {
  const values = Uint16Array.from({ length: 3 * BAND + 7 }, (_, at) => Number(at > BAND + 9));
  const [one, copy] = [packed(values), packed(values)];
  assert.equal(difference(one, copy), null);
  values[2 * BAND + 5] = 8;
  assert.deepEqual(difference(one, packed(values)), [2 * BAND, 3 * BAND]);
  values[3 * BAND + 6] = 8;
  assert.deepEqual(difference(one, packed(values)), [2 * BAND, 3 * BAND + 7]);
  for (const [from, to] of [[0, 5], [BAND - 2, BAND + 20], [3 * BAND, 3 * BAND + 7]])
    assert.deepEqual(unpackedPart(packed(values), from, to), values.slice(from, to));
});
