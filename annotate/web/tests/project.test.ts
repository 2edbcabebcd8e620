import assert from "node:assert/strict";
import { test } from "node:test";

import { Edits, editsOf } from "../src/labels/edits";
import { NONE } from "../src/labels/labeling";
import { packed, unpacked } from "../src/labels/layer";
import { labelingOf, renumbered, summaryOf, wordsOf } from "../src/project/keeping";
import type { UnsentWork } from "../src/project/outbox";
import { baseOf, changedRows, collides, type Known, rebased } from "../src/project/rebasing";
import { newState, stem, uniqueName, withChange, type Work } from "../src/project/structure";
import { decodeWork, encodeWork } from "../src/project/work_file";
import { rebasedWords, withLookedFor } from "../src/project/words";
import { grayPng } from "../src/saving/maps";
import { unzipped } from "../src/saving/zip";
import { draft, zip } from "./labeled";

const VOCABULARY = withLookedFor([], ["cat", "sofa, couch", "wall"]);
const RULE = { threshold: 0, background: null };

/** Work on an image of 2 × 3 pixels. */
function work(corrections: readonly number[], labels: readonly number[] = [0, 0, 1, 1, 2, NONE]): Work {
  const found = { ...draft(["00", "00", "00"], [0, 1, 2]), labels: Uint16Array.from(labels) };
  return { draft: found, edits: editsOf(packed(Uint16Array.from(corrections))), settled: null };
}

/** The layer of corrections. */
function layer(work: Partial<Work> | null): number[] {
  return [...unpacked(work!.edits!.layer)];
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
  assert.deepEqual(layer(read.work), [0, 1, 4, 0, 0, 2]);
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
  assert.deepEqual(Object.keys(await unzipped(await encodeWork(state, own, context, false))).sort(), ["corrections.png", "labels.png", "state.json"]);
  const files = await unzipped(await encodeWork(state, own, context));
  const wrong = await zip({ ...files, "objects.png": grayPng(new Uint16Array(2), { width: 2, height: 1 }) });
  await assert.rejects(decodeWork(wrong, VOCABULARY), /2 × 3 pixels/);
  const done = await again({ ...state, done: true }, own);
  assert.deepEqual([...unpacked(done.work.settled!.labels)], [0, NONE, 2, 1, 2, 0]);
});

test("corrections of two people are put together, and a collision is seen", () => {
  const [base, mine, theirs] = [[0, 0, 0, 0, 0, 2], [3, 0, 0, 3, 0, 2], [0, 4, 0, 3, 0, 0]].map((one) => Uint16Array.from(one));
  const bases = [base, mine, theirs, Uint16Array.of(4, 0, 0, 0, 0, 2)].map((layer) => baseOf(3, editsOf(packed(layer)), { width: 2, height: 3 }));
  assert.ok(!collides(bases[0], editsOf(packed(mine)), bases[2]));
  assert.ok(collides(bases[0], editsOf(packed(mine)), bases[3]));
  const state = newState("a.png", { width: 2, height: 3 });
  const unsent: UnsentWork = { kind: "work", image: "a.png", change: "1", base: bases[0], state, edits: editsOf(packed(mine)) };
  const their = { ...state, revision: 5, answers: "theirs" };
  const both = rebased(unsent, work([...theirs]), their, "both")!;
  assert.deepEqual(layer(both), [3, 4, 0, 3, 0, 0]);
  assert.deepEqual([both.base.revision, [...unpacked(both.base.layer)], both.state.answers], [5, [...theirs], "theirs"]);
  assert.deepEqual(layer(rebased(unsent, work([...theirs]), their, "mine")), [...mine]);
  assert.equal(rebased(unsent, work([...theirs]), their, "theirs"), null);
  const moved = renumbered(unsent, new Map([[1, 7]]));
  assert.deepEqual(layer(moved), [9, 0, 0, 9, 0, 2]);
  assert.deepEqual(wordsOf(moved).sort(), [0, 7]);
});

test("objects of two people are put together, with numbers of their own, and one that both changed is a collision", () => {
  const size = { width: 6, height: 1 },
    layer = packed(Uint16Array.of(2, 2, 3, 3, 2, 2));
  const edits = (numbers: number[], ids: number[]) => editsOf(layer, { layer: packed(Uint16Array.from(numbers)), ids });
  const base = edits([1, 1, 0, 0, 0, 0], [0]),
    mine = edits([1, 1, 0, 0, 2, 3], [0, 0, 0]),
    theirs = edits([1, 0, 2, 2, 0, 0], [0, 1]);
  const state = newState("a.png", size);
  const unsent: UnsentWork = { kind: "work", image: "a.png", change: "1", base: baseOf(1, base, size), state, edits: mine };
  const their: Work = { draft: null, edits: theirs, settled: null };
  assert.ok(!collides(unsent.base, mine, baseOf(2, theirs, size)));
  const { objects } = rebased(unsent, their, { ...state, revision: 2 }, "both")!.edits!;
  assert.deepEqual([[...unpacked(objects.layer!)], objects.ids], [[1, 0, 2, 2, 3, 4], [0, 1, 0, 0]]);
  assert.ok(collides(unsent.base, mine, baseOf(2, edits([1, 1, 0, 0, 2, 2], [0, 0]), size)));
});

test("an image stays done where the model labeled it again, and not where somebody corrected it", () => {
  const state = { ...newState("a.png", { width: 2, height: 3 }), done: true },
    their = { ...state, done: false, revision: 5 };
  const [base, corrected] = [[0, 3, 0, 0, 0, 2], [4, 3, 0, 0, 0, 2]];
  const settled = { labels: packed(Uint16Array.of(0, 1, 1, 1, 2, 0)), rule: null };
  const done: UnsentWork = { kind: "work", image: "a.png", change: "1", base: baseOf(3, editsOf(packed(Uint16Array.from(base))), state), state, settled };
  assert.deepEqual(rebased(done, work(base, [2, 2, 2, 2, 2, 2]), their, "both")!.settled, settled);
  assert.equal(rebased(done, work(corrected), their, "both"), null);
  const edited = { ...done, edits: editsOf(packed(Uint16Array.of(0, 3, 0, 0, 3, 2))) };
  const seen = rebased(edited, work(base), their, "both")!;
  assert.deepEqual([seen.settled, seen.state.done], [settled, true]);
  const both = rebased(edited, work(corrected), their, "both")!;
  assert.deepEqual(layer(both), [4, 3, 0, 0, 3, 2]);
  assert.deepEqual([both.settled, both.state.done], [undefined, false]);
  assert.equal(rebased(edited, work(corrected), their, "mine")!.settled, settled);
  const reopened = rebased({ ...done, settled: null }, work(corrected), their, "both")!;
  assert.equal(reopened.settled, null);
});

test("of a large image the rows are sent that changed, also where it becomes done, and all where another rule labeled it", () => {
  const size = { width: 2000, height: 2100 },
    rule = "now";
  const edits = new Edits(size.width, size.height),
    before: Work = { draft: null, edits: edits.saved, settled: null };
  const base = baseOf(1, before.edits, size),
    known = { revision: 1, work: before, rule };
  const unsent: UnsentWork = { kind: "work", image: "a.png", change: "1", base, state: newState("a.png", size) };
  const rows = (change: Partial<UnsentWork>, of: Known = known) => changedRows(of, { ...unsent, ...change }, withChange(of.work, change));
  edits.paint(Int32Array.of(1_000_000, 300), 2);
  edits.finish();
  const [top, bottom] = rows({ edits: edits.saved })!;
  assert.ok(top <= 500 && 501 <= bottom && bottom - top < 300);
  const settled = { labels: base.layer, rule };
  assert.deepEqual(rows({ settled }), [0, 1]);
  assert.deepEqual(rows({ settled, edits: edits.saved }), [top, bottom]);
  assert.equal(rows({ settled: { ...settled, rule: "before" } }), null);
  const done = { ...known, work: { ...before, settled } };
  assert.deepEqual(rows({ settled: null }, done), [0, 1]);
  assert.equal(rows({ settled: null }, { ...done, work: { ...before, settled: { ...settled, rule: null } } }), null);
  assert.equal(rows({ settled, base: { ...base, revision: 2 } }), null);
});

test("words that two people add at once get ids of their own, and renames and removals hold", () => {
  const mine = withLookedFor(VOCABULARY, ["cat", "wall", "mine"]),
    theirs = withLookedFor(VOCABULARY, ["cat", "sofa, couch", "wall", "theirs"]).map((word) =>
      word.name === "cat" ? { ...word, name: "cat, tom" } : word,
    );
  const { words, moved } = rebasedWords(VOCABULARY, mine, theirs);
  const all = words.map(({ id, name, removed }) => `${id} ${name}${removed ? " (removed)" : ""}`);
  assert.deepEqual(all, ["0 cat, tom", "1 sofa, couch (removed)", "2 wall", "3 theirs", "4 mine"]);
  assert.deepEqual([...moved], [[3, 4]]);
});

test("a word that two people add is one, however they write it, and a name isn't given twice", () => {
  const add = (...names: string[]) => withLookedFor(VOCABULARY, ["cat", "sofa, couch", "wall", ...names]);
  const { words, moved } = rebasedWords(VOCABULARY, add("lamp", "Caf\u00e9", "door"), add("roof", "cafe\u0301", "LAMP"));
  assert.deepEqual(words.slice(3).map(({ id, name }) => `${id} ${name}`), ["3 roof", "4 cafe\u0301", "5 LAMP", "6 door"]);
  assert.deepEqual([...moved].sort(), [[3, 5], [5, 6]]);
  const renamed = VOCABULARY.map((word) => (word.id === 2 ? { ...word, name: "Roof" } : word));
  const both = rebasedWords(VOCABULARY, renamed, add("roof"));
  assert.deepEqual(both.words.map(({ name }) => name), ["cat", "sofa, couch", "wall", "roof"]);
  assert.deepEqual(both.notRenamed, [{ from: "wall", to: "Roof" }]);
  assert.deepEqual(rebasedWords(VOCABULARY, renamed, VOCABULARY).notRenamed, []);
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
