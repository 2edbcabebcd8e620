import assert from "node:assert/strict";
import { test } from "node:test";

import { NONE } from "../src/labels/labeling";
import { packed, type PackedLayer, unpacked } from "../src/labels/layer";
import { labelingOf, summaryOf } from "../src/project/keeping";
import { type KeptEdits, newState, stem, uniqueName, type Work } from "../src/project/structure";
import { collides, rebased, renumbered, type Unsent } from "../src/project/unsent";
import { movedIds, rebasedWords, withLookedFor } from "../src/project/words";
import { correctionsOf, decodeWork, editsOf, encodeWork } from "../src/project/work_file";
import { unzipped } from "../src/saving/zip";
import { found, zip } from "./labeled";

const VOCABULARY = withLookedFor([], ["cat", "sofa, couch", "wall"]);
const RULE = { threshold: 0, background: null };
const NO_OBJECTS: KeptEdits["objects"] = { layer: null, ids: [] };

/** Work on an image of 2 × 3 pixels. */
function work(corrections: readonly number[], draft: readonly number[] = [0, 0, 1, 1, 2, NONE]): Work {
  const { words: _, ...answer } = found(["00", "00", "00"], []);
  const kept = { ...answer, labels: Uint16Array.from(draft), ids: [0, 1, 2] };
  return { draft: kept, edits: editsOf(Uint16Array.from(corrections), NO_OBJECTS), settled: null };
}

test("the file of an image has all that was decided, and gives the same labels again", async () => {
  const own = work([0, 1, 4, 0, 0, 2]),
    context = { vocabulary: VOCABULARY, rule: RULE };
  const state = { ...newState("a.png", { width: 2, height: 3 }), answers: '["what", "tiny"]' };
  const labels = labelingOf(state, own, context);
  assert.deepEqual([...labels.labels], [0, NONE, 2, 1, 2, 0]);
  const summary = summaryOf(labels);
  assert.deepEqual([summary.corrected, summary.pixels, summary.unlabeled], [3, { 0: 2, 1: 1, 2: 2 }, 1]);
  const again = async (now: typeof state, what: Work) => decodeWork(await encodeWork(now, what, context), VOCABULARY);
  const read = await again(state, own);
  assert.deepEqual([...unpacked(correctionsOf(read.work.edits, state))], [0, 1, 4, 0, 0, 2]);
  assert.deepEqual([...labelingOf(state, read.work, context).labels], [...labels.labels]);
  assert.equal(read.work.draft!.model, "tiny");
  assert.equal(read.work.draft!.parts, null);
  const parts = {
    names: [{ object: "cat", part: "oreille 耳", name: "cat's oreille 耳" }],
    colors: [[1, 2, 3]],
    labels: Uint16Array.of(0, NONE, NONE, 0, NONE, 0),
  };
  const withParts = await again(state, { ...own, draft: { ...own.draft!, parts } });
  assert.deepEqual(withParts.work.draft!.parts, parts);
  assert.equal(read.work.settled, null);
  const done = await again({ ...state, done: true }, own);
  assert.deepEqual([...done.work.settled!], [0, NONE, 2, 1, 2, 0]);
});

test("corrections of two people are put together, and a collision is seen", () => {
  const [base, mine, theirs] = [[0, 0, 0, 0, 0, 2], [3, 0, 0, 3, 0, 2], [0, 4, 0, 3, 0, 0]].map((one) => Uint16Array.from(one));
  const layers = [base, mine, theirs].map(packed) as [PackedLayer, PackedLayer, PackedLayer];
  assert.ok(!collides(...layers));
  assert.ok(collides(layers[0], layers[1], packed(Uint16Array.of(4, 0, 0, 0, 0, 2))));
  const state = newState("a.png", { width: 2, height: 3 });
  const unsent: Unsent = { id: "a.png", change: "1", base: { revision: 3, corrections: layers[0] }, state, edits: editsOf(mine, NO_OBJECTS) };
  const their = { ...state, revision: 5, answers: "theirs" };
  const both = rebased(unsent, work([...theirs]), their, "both")!;
  assert.deepEqual([...unpacked(correctionsOf(both.edits!, state))], [3, 4, 0, 3, 0, 0]);
  assert.deepEqual([both.base.revision, [...unpacked(both.base.corrections)], both.state.answers], [5, [...theirs], "theirs"]);
  assert.deepEqual([...unpacked(correctionsOf(rebased(unsent, work([...theirs]), their, "mine")!.edits!, state))], [...mine]);
  assert.equal(rebased(unsent, work([...theirs]), their, "theirs"), null);
  const moved = renumbered(unsent, new Map([[1, 7]]));
  assert.deepEqual([...unpacked(correctionsOf(moved.edits!, state))], [9, 0, 0, 9, 0, 2]);
});

test("an image stays done where the model labeled it again, and not where somebody corrected it", () => {
  const state = { ...newState("a.png", { width: 2, height: 3 }), done: true },
    their = { ...state, done: false, revision: 5 };
  const [base, corrected] = [[0, 3, 0, 0, 0, 2], [4, 3, 0, 0, 0, 2]];
  const settled = Uint16Array.of(0, 1, 1, 1, 2, 0);
  const done: Unsent = { id: "a.png", change: "1", base: { revision: 3, corrections: packed(Uint16Array.from(base)) }, state, settled };
  assert.deepEqual(rebased(done, work(base, [2, 2, 2, 2, 2, 2]), their, "both")!.settled, settled);
  assert.equal(rebased(done, work(corrected), their, "both"), null);
  const edited = { ...done, edits: editsOf(Uint16Array.of(0, 3, 0, 0, 3, 2), NO_OBJECTS) };
  const seen = rebased(edited, work(base), their, "both")!;
  assert.deepEqual([seen.settled, seen.state.done], [settled, true]);
  const both = rebased(edited, work(corrected), their, "both")!;
  assert.deepEqual([...unpacked(correctionsOf(both.edits!, state))], [4, 3, 0, 0, 3, 2]);
  assert.deepEqual([both.settled, both.state.done], [undefined, false]);
  assert.equal(rebased(edited, work(corrected), their, "mine")!.settled, settled);
  const reopened = rebased({ ...done, settled: null }, work(corrected), their, "both")!;
  assert.equal(reopened.settled, null);
});

test("words that two people add at once get ids of their own, and renames and removals hold", () => {
  const mine = withLookedFor(VOCABULARY, ["cat", "wall", "mine"]),
    theirs = withLookedFor(VOCABULARY, ["cat", "sofa, couch", "wall", "theirs"]).map((word) =>
      word.name === "cat" ? { ...word, name: "cat, tom" } : word,
    );
  const merged = rebasedWords(VOCABULARY, mine, theirs);
  const all = merged.map(({ id, name, removed }) => `${id} ${name}${removed ? " (removed)" : ""}`);
  assert.deepEqual(all, ["0 cat, tom", "1 sofa, couch (removed)", "2 wall", "3 theirs", "4 mine"]);
  assert.deepEqual([...movedIds(mine, merged)], [[3, 4]]);
});

test("names of files have one stem each", () => {
  assert.deepEqual(["a.jpg", "sub/b.tar.png", "c"].map(stem), ["a", "sub/b.tar", "c"]);
  assert.equal(uniqueName("A.png", ["a.jpg", "A-2.jpg"]), "A-3.png");
  assert.equal(uniqueName("b.png", ["a.jpg"]), "b.png");
});

test("files come back from their zip", async () => {
  const bytes = Uint8Array.from({ length: 70_000 }, (_, at) => at % 251);
  const files = { "images/ä.png": bytes, "empty.txt": new Uint8Array() };
  assert.deepEqual(await unzipped(await zip(files)), files);
  await assert.rejects(unzipped(new TextEncoder().encode("no zip, though it is long enough to be one")));
});
