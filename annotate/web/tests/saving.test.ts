import { decode } from "fast-png";
import assert from "node:assert/strict";
import { test } from "node:test";

import { wordColor } from "../src/imaging/palette";
import { area, outlines } from "../src/labels/contours";
import { type Labeling, NONE } from "../src/labels/labeling";
import { unpacked } from "../src/labels/layer";
import { makeObjects, merge, objectMap } from "../src/labels/objects";
import { boxOf, polygon, whole } from "../src/labels/runs";
import { Coco, compressedCounts, type Shape } from "../src/saving/annotations";
import { report } from "../src/saving/files";
import { grayPng, labelMapPng, savedObjects } from "../src/saving/maps";
import { ALL, labeling, map, rows } from "./labeled";

function coco(images: readonly { name: string; labeling: Labeling }[], shape: Shape): string {
  const file = new Coco(shape);
  for (const { name, labeling } of images) file.add(name, labeling);
  return file.text();
}

test("the label map has a palette for up to 255 words, then 16 bits of gray", () => {
  for (const [words, depth, none] of [[4, 8, 255], [255, 8, 255], [256, 16, 65535], [1000, 16, 65535]]) {
    const labels = Uint16Array.from([0, 1, 1, words - 1, NONE, 0]);
    const colors = Array.from({ length: words }, (_, word) => wordColor(word));
    const image = decode(labelMapPng(labels, { width: 3, height: 2 }, colors));
    assert.deepEqual([image.width, image.height, image.channels, image.depth], [3, 2, 1, depth]);
    assert.deepEqual(Array.from(image.data), [0, 1, 1, words - 1, none, 0]);
    const palette = image.palette ?? [];
    if (depth === 8) assert.deepEqual([palette[0], palette[255], palette.length], [[...wordColor(0)], [0, 0, 0], 256]);
  }
});

test("run lengths are those of pycocotools", () => {
  // pycocotools.mask.encode of the same masks
  for (const [rows, counts] of [
    [["0010", "0110", "0010"], "41122"],
    [["1111", "1111"], "08"],
    [["0000", "0000"], "8"],
    [Array(30).fill("0".repeat(20) + "1".repeat(20)), "hb0hb0"],
    [Array(7).fill(`${"0".repeat(9)}11${"0".repeat(9)}${"1".repeat(80)}`), "o1>o1Ra0"],
    [
      ["100101001", "010010100", "101001010", "010100101", "001010010", "100101001", "010010100", "101001010"],
      "011010O000001010N0110OO020O0O0000010O000001010N0110OO01",
    ],
  ] as const) {
    const image = map(...rows);
    assert.equal(compressedCounts(image.labels, image, 1, whole(image)), counts);
  }
  // a rectangle around the pixels, at any edges of the image, changes nothing
  for (const lines of [["0000", "0110", "0100"], ["0110", "0110"], ["1100", "1000", "1000"], ["0000", "0011"]]) {
    const image = map(...lines),
      box = boxOf([...image.labels].flatMap((label, at) => (label ? [at, 1] : [])), image.width)!;
    const counts = compressedCounts(image.labels, image, 1, whole(image));
    assert.equal(compressedCounts(image.labels, image, 1, box), counts);
  }
});

test("outlines hold exactly the pixels of their regions, holes and corners that touch included", () => {
  const image = map("11110022", "10010222", "10110222", "11110001", "00000010");
  const found = outlines(image.labels, image, NONE, 0);
  assert.deepEqual(found.map(({ label }) => label), [1, 0, 2, 0, 1, 1, 0]);
  for (const label of [0, 1, 2]) {
    const drawn = new Uint16Array(image.labels.length).fill(NONE);
    for (const outline of found.filter((one) => one.label === label)) {
      const runs = polygon(outline.points, image);
      for (let at = 0; at < runs.length; at += 2) drawn.fill(label, runs[at], runs[at] + runs[at + 1]);
    }
    const truth = image.labels.map((one) => (one === label ? label : NONE));
    assert.deepEqual(rows(drawn, image.width), rows(truth, image.width));
  }
  assert.ok(found.every(({ points }) => area(points) > 0));
});

test("long outlines have few points and stay near the pixels' edges", () => {
  const size = { width: 200, height: 200 };
  const labels = Uint16Array.from({ length: 200 * 200 }, (_, at) =>
    Math.hypot((at % 200) - 100, Math.floor(at / 200) - 100) < 80 ? 1 : 0,
  );
  const disc = outlines(labels, size, 0)[0];
  assert.ok(disc.points.length < 80, `${disc.points.length}`);
  assert.ok(Math.abs(area(disc.points) / 2 / (Math.PI * 80 * 80) - 1) < 0.01, `${area(disc.points)}`);
});

test("COCO's files name words once for all images, and say where each is", () => {
  const images = [
    { name: "a.jpg", labeling: labeling(["0011", "0011", "1111"], ["cat", "sofa, couch"]) },
    { name: "b.jpg", labeling: labeling(["00", "00"], ["dog", "cat"], ALL, [2, 0]) },
  ];
  const masks = JSON.parse(coco(images, "rle"));
  assert.deepEqual(masks.images[1], { id: 2, file_name: "b.jpg", width: 2, height: 2 });
  assert.deepEqual(masks.categories, [{ id: 1, name: "cat" }, { id: 2, name: "sofa" }, { id: 3, name: "dog" }]);
  const segmentation = { size: [3, 4], counts: "02106" };
  const first = { id: 1, image_id: 1, category_id: 1, area: 4, bbox: [0, 0, 2, 2], iscrowd: 0, segmentation };
  assert.deepEqual(masks.annotations[0], first);
  const place = (one: { image_id: number; category_id: number }) => [one.image_id, one.category_id];
  assert.deepEqual(masks.annotations.map(place), [[1, 1], [1, 2], [2, 3]]);
  const polygons = JSON.parse(coco(images, "polygons"));
  assert.deepEqual(polygons.annotations[0].segmentation, [[2, 0, 2, 2, 0, 2, 0, 0]]);
});

test("objects are annotations of their own, and what is left of their word is a crowd", () => {
  const image = labeling(["0000.000111", "0000.000111", ".........11", "0.0......11"], ["person", "wall"]);
  makeObjects(image, 0, 4);
  const annotations = (shape: "rle" | "polygons") =>
    JSON.parse(coco([{ name: "a.jpg", labeling: image }], shape)).annotations;
  const brief = (entry: { category_id: number; area: number; bbox: number[]; iscrowd: number }) =>
    [entry.category_id, entry.area, entry.bbox.join(" "), entry.iscrowd].join(", ");
  // the specks joined the objects; only in a larger image are some too far away
  assert.deepEqual(annotations("rle").map(brief), ["1, 10, 0 0 4 4, 0", "1, 6, 5 0 3 2, 0", "2, 10, 8 0 3 4, 0"]);
  image.edits.assign(Int32Array.of(33, 3), 0);
  const ofPersons = ["1, 8, 0 0 4 2, 0", "1, 6, 5 0 3 2, 0", "1, 2, 0 3 3 1, 1"];
  assert.deepEqual(annotations("rle").map(brief).slice(0, 3), ofPersons);
  const polygons = annotations("polygons");
  const isPolygon = ({ segmentation }: { segmentation: object }) => Array.isArray(segmentation);
  assert.deepEqual(polygons.map(isPolygon), [true, true, false, true]);
  assert.deepEqual(polygons[1].segmentation, [[8, 0, 8, 2, 5, 2, 5, 0]]);
  merge(image, [1, 2]);
  assert.equal(annotations("rle").length, 3);
  const classes = JSON.parse(report(image, "a.jpg")).classes;
  assert.deepEqual(classes.map(({ objects }: { objects: number }) => objects), [1, 0]);
});

test("objects come back from their file", () => {
  const image = labeling(["00.0.11"], ["person", "wall"]);
  for (const label of [1, 0]) makeObjects(image, label, 1);
  const numbers = objectMap(image)!;
  const file = decode(grayPng(numbers, image));
  assert.deepEqual(file.depth, 16);
  const saved = savedObjects(file.data as Uint16Array, image.labels);
  assert.deepEqual([unpacked(saved.layer!), saved.ids], [numbers, [1, 0, 0]]);
  assert.deepEqual(savedObjects(numbers.fill(0), image.labels), { layer: null, ids: [] });
});
