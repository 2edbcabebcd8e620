import assert from "node:assert/strict";
import { test } from "node:test";

import { decode } from "fast-png";

import { wordColor } from "../src/imaging/palette";
import { area, outlines } from "../src/labels/contours";
import { NONE } from "../src/labels/labeling";
import { compressedCounts } from "../src/labels/rle";
import { polygon } from "../src/labels/shapes";
import { Coco, type Shape } from "../src/saving/coco";
import { labelMapPng } from "../src/saving/label_map";
import { labelme } from "../src/saving/labelme";
import { report } from "../src/saving/report";
import { ALL, labeling, map, rows } from "./labeled";

test("the label map has a palette for up to 255 words, then 16 bits of gray", () => {
  for (const [words, depth, none] of [
    [4, 8, 255],
    [255, 8, 255],
    [256, 16, 65535],
    [1000, 16, 65535],
  ]) {
    const labels = Uint16Array.from([0, 1, 1, words - 1, NONE, 0]);
    const colors = Array.from({ length: words }, (_, word) => wordColor(word));
    const image = decode(labelMapPng(labels, { width: 3, height: 2 }, colors));
    assert.deepEqual([image.width, image.height, image.channels, image.depth], [3, 2, 1, depth]);
    assert.deepEqual(Array.from(image.data), [0, 1, 1, words - 1, none, 0]);
    if (depth === 8)
      assert.deepEqual(
        [image.palette![0], image.palette![255], image.palette!.length],
        [[...wordColor(0)], [0, 0, 0], 256],
      );
  }
});

test("the report has the fields of segvoc's, and its pixels add up", () => {
  const content = JSON.parse(report(labeling(["001", "01."], ["cat", "sofa, couch", "dog"]), "photo.jpg"));
  assert.deepEqual(Object.keys(content), [
    "image",
    "width",
    "height",
    "model",
    "dtype",
    "classes",
    "unlabelled",
    "seconds",
  ]);
  assert.deepEqual(
    [content.image, content.width, content.height, content.unlabelled, content.seconds],
    ["photo.jpg", 3, 2, 1, 0.123],
  );
  assert.deepEqual(content.classes[1], {
    id: 1,
    name: "sofa, couch",
    color: [...wordColor(1)],
    pixels: 2,
    fraction: 0.333333,
    mean_confidence: 0.8,
  });
  assert.deepEqual([content.classes[2].pixels, content.classes[2].mean_confidence], [0, null]);
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
    const { labels, width, height } = map(...rows);
    assert.equal(compressedCounts(labels, width, height, 1), counts);
  }
});

test("outlines hold exactly the pixels of their regions, holes and corners that touch included", () => {
  const image = map("11110022", "10010222", "10110222", "11110001", "00000010");
  const found = outlines(image.labels, image, NONE, 0);
  assert.deepEqual(
    found.map(({ label }) => label),
    [1, 0, 2, 0, 1, 1, 0],
  );
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

test("a skipped label has no outline, but is a hole in others", () => {
  const image = map("000", "0.0", "000");
  const [ring, ...others] = outlines(image.labels, image, NONE, 0);
  assert.deepEqual([others.length, area(ring.points)], [0, 16]);
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
  const coco = (shape: Shape) => {
    const file = new Coco(shape);
    for (const { name, labeling } of images) file.add(name, labeling);
    return JSON.parse(file.text());
  };
  const masks = coco("rle");
  assert.deepEqual(masks.images[1], { id: 2, file_name: "b.jpg", width: 2, height: 2 });
  assert.deepEqual(masks.categories, [
    { id: 1, name: "cat" },
    { id: 2, name: "sofa" },
    { id: 3, name: "dog" },
  ]);
  assert.deepEqual(masks.annotations[0], {
    id: 1,
    image_id: 1,
    category_id: 1,
    area: 4,
    bbox: [0, 0, 2, 2],
    iscrowd: 0,
    segmentation: { size: [3, 4], counts: "02106" },
  });
  assert.deepEqual(
    masks.annotations.map((one: { image_id: number; category_id: number }) => [one.image_id, one.category_id]),
    [
      [1, 1],
      [1, 2],
      [2, 3],
    ],
  );
  const polygons = coco("polygons");
  assert.deepEqual(polygons.annotations[0].segmentation, [[2, 0, 2, 2, 0, 2, 0, 0]]);
});

test("LabelMe's file has a polygon for each region", () => {
  const content = JSON.parse(labelme(labeling(["00110", "00110", "11110"], ["cat", "sofa, couch"]), "a.jpg"));
  assert.deepEqual([content.imagePath, content.imageWidth, content.imageHeight], ["a.jpg", 5, 3]);
  assert.deepEqual(
    content.shapes.map(({ label }: { label: string }) => label),
    ["cat", "sofa"],
  );
  assert.deepEqual(content.shapes[0].points, [
    [2, 0],
    [2, 2],
    [0, 2],
    [0, 0],
  ]);
});
