import assert from "node:assert/strict";
import { test } from "node:test";

import { signal } from "@preact/signals";

import { Edits } from "../src/labels/edits";
import { doubtfulPlaces, Labeling } from "../src/labels/labeling";
import { holds } from "../src/labels/runs";
import { type ImageState, newState } from "../src/project/structure";
import type { Item } from "../src/session/item";
import { EVERYTHING, isWanted, Listing, type Order, ordered, progressOf, statistics, type Wanted } from "../src/session/listing";
import { context, draft } from "./labeled";

const WIDTH = 96,
  HEIGHT = 64;

/** An image of one word with two places in doubt: a large one, and a worse one that is decided by a person. */
function doubting(): { labeling: Labeling; edits: Edits } {
  const confidence = new Uint8Array(WIDTH * HEIGHT).fill(250);
  const doubt = (left: number, top: number, side: number, value: number) => {
    for (let y = top; y < top + side; y++) confidence.fill(value, y * WIDTH + left, y * WIDTH + left + side);
  };
  doubt(8, 8, 20, 90);
  doubt(64, 36, 20, 20);
  // a border is thin
  for (let y = 0; y < HEIGHT; y++) confidence[y * WIDTH + 48] = 130;
  const edits = new Edits(WIDTH, HEIGHT);
  const answer = draft(Array(HEIGHT).fill("0".repeat(WIDTH)), [0]);
  return { labeling: new Labeling({ ...answer, confidence }, edits, context(["cat"])), edits };
}

const square = (left: number, top: number, side: number) => ({ left, top, right: left + side, bottom: top + side });

test("the places in doubt come worst first, keep their distance, and lie in the image", () => {
  const { labeling } = doubting();
  const places = doubtfulPlaces(labeling);
  assert.ok(holds(square(64, 36, 20), places[0]));
  assert.ok(places.some((place) => holds(square(8, 8, 20), place)));
  const doubts = places.map(({ doubt }) => doubt);
  assert.deepEqual(doubts, doubts.toSorted((one, other) => other - one));
  for (const [at, { x, y, box }] of places.entries()) {
    assert.ok(box.left >= 0 && box.top >= 0 && box.right <= WIDTH && box.bottom <= HEIGHT);
    assert.ok(holds(box, { x, y }));
    for (const other of places.slice(at + 1)) assert.ok(Math.max(Math.abs(x - other.x), Math.abs(y - other.y)) >= 12);
  }
});

test("what a person decided isn't in doubt, and a line is no place", () => {
  const { labeling, edits } = doubting();
  const box = { left: 60, top: 32, right: 88, bottom: 60 };
  const runs: number[] = [];
  for (let y = box.top; y < box.bottom; y++) runs.push(y * WIDTH + box.left, box.right - box.left);
  labeling.take(edits.paint(Int32Array.from(runs), 0)!);
  const places = doubtfulPlaces(labeling);
  assert.ok(places.length >= 1);
  for (const place of places) assert.ok(holds(square(4, 4, 28), place), `${place.x}, ${place.y}`);
});

function state(image: string, more: Partial<ImageState> = {}): ImageState {
  return { ...newState(image, { width: 10, height: 10 }), ...more };
}

const CAT = { id: 0, name: "cat", color: [1, 2, 3] as const, removed: false },
  DOG = { id: 4, name: "dog", color: [4, 5, 6] as const, removed: false },
  GONE = { id: 2, name: "gone", color: [7, 8, 9] as const, removed: true };

const STATES = [
  state("Street 10.jpg", { source: "model", answers: "a", uncertainty: 0.2, pixels: { 0: 40, 4: 60 } }),
  state("street 9.jpg", { source: "person", answers: "a", uncertainty: 0.5, corrected: 25, pixels: { 0: 100 } }),
  state("house.jpg"),
  state("yard.jpg", { source: "person", done: true, uncertainty: 0.9, pixels: { 4: 10, 2: 0 }, objects: { 4: 3 } }),
];

test("images are found by name, progress and word", () => {
  const names = (wanted: Partial<Wanted>) =>
    STATES.filter((one) => isWanted(one, { ...EVERYTHING, ...wanted })).map(({ image }) => image);
  assert.equal(names({}).length, 4);
  assert.deepEqual(names({ text: " STREET " }), ["Street 10.jpg", "street 9.jpg"]);
  assert.deepEqual(STATES.map(progressOf), ["labeled", "corrected", "not labeled", "done"]);
  assert.deepEqual(names({ progress: "corrected" }), ["street 9.jpg"]);
  assert.deepEqual(names({ word: 4 }), ["Street 10.jpg", "yard.jpg"]);
  assert.deepEqual(names({ word: 2 }), []);
  assert.deepEqual(names({ word: 4, progress: "done", text: "street" }), []);
});

test("images are found by who labels them", () => {
  const people: Record<string, string> = { "house.jpg": "anna", "yard.jpg": "ben" };
  const names = (person: string | null) =>
    STATES.filter((one) => isWanted({ ...one, person: people[one.image] ?? null }, { ...EVERYTHING, person })).map(({ image }) => image);
  assert.deepEqual(names("anna"), ["house.jpg"]);
  assert.deepEqual(names(""), ["Street 10.jpg", "street 9.jpg"]);
  assert.equal(names(null).length, 4);
});

test("an open image that doesn't match stays listed, and isn't dealt out", () => {
  const items = STATES.map((one) => ({ summary: signal(one) }) as unknown as Item);
  const listing = new Listing(signal(items), signal<Item | null>(items[2]));
  assert.deepEqual(listing.matching, items);
  listing.look({ text: "street" });
  assert.deepEqual(listing.listed.value, [items[0], items[1], items[2]]);
  assert.deepEqual(listing.matching, [items[0], items[1]]);
  listing.look({ text: "house" });
  assert.deepEqual(listing.matching, [items[2]]);
});

test("images are found by what reviewers said", () => {
  const review = (verdict: "accepted" | "sent back") => ({ verdict, comment: "", by: "ben", at: null });
  const accepted = state("a.jpg", { source: "person", done: true, review: review("accepted") }),
    back = state("b.jpg", { source: "person", corrected: 9, review: review("sent back") });
  const names = (progress: Wanted["progress"]) =>
    [...STATES, accepted, back].filter((one) => isWanted(one, { ...EVERYTHING, progress })).map(({ image }) => image);
  assert.deepEqual([progressOf(accepted), progressOf(back)], ["accepted", "sent back"]);
  assert.deepEqual(names("accepted"), ["a.jpg"]);
  assert.deepEqual(names("done"), ["yard.jpg"]);
  assert.deepEqual(names("open"), ["Street 10.jpg", "street 9.jpg", "house.jpg", "b.jpg"]);
});

test("images come as added, by name, or the least certain first with those that are done last", () => {
  const names = (order: Order) => ordered(STATES, order, (one) => one).map(({ image }) => image);
  assert.deepEqual(names("added"), STATES.map(({ image }) => image));
  assert.deepEqual(names("name"), ["house.jpg", "street 9.jpg", "Street 10.jpg", "yard.jpg"]);
  assert.deepEqual(names("least certain"), ["street 9.jpg", "Street 10.jpg", "house.jpg", "yard.jpg"]);
});

test("statistics count images by progress, and pixels, images and objects of words", () => {
  const counted = statistics(STATES, [CAT, DOG, GONE]);
  const reviewed = { "sent back": 0, accepted: 0 };
  assert.deepEqual(counted.progress, { "not labeled": 1, labeled: 1, corrected: 1, done: 1, ...reviewed });
  assert.equal(counted.images, 4);
  assert.equal(counted.decided, (25 + 100) / 300);
  assert.deepEqual(counted.words, [
    { word: CAT, images: 2, done: 0, fraction: 140 / 300, objects: 0 },
    { word: DOG, images: 2, done: 1, fraction: 70 / 300, objects: 3 },
  ]);
  assert.equal(statistics([], [CAT]).decided, 0);
});
