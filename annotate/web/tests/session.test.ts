import assert from "node:assert/strict";
import { test } from "node:test";

import { type Backend, type ImageSource, type Segmentation, TransientError } from "../src/backend";
import { MOST_WORDS, wordColor } from "../src/imaging/palette";
import { BrowserStore, exchanged } from "../src/project/browser_store";
import { Database } from "../src/project/database";
import { labelingWith } from "../src/project/keeping";
import { newState, type Work } from "../src/project/structure";
import { correctionsOf, editsOf } from "../src/project/work_file";
import { colorOf, withLookedFor, withName } from "../src/project/words";
import { Edits } from "../src/labels/edits";
import { unpacked } from "../src/labels/layer";
import { Item } from "../src/session/item";
import { Labeler } from "../src/session/labeler";
import { Nearby } from "../src/session/open_image";
import { Session } from "../src/session/session";
import { projectOf, restore, useProject, valuesOf } from "../src/session/settings";
import { watcherOf } from "../src/session/watching";
import { found } from "./labeled";

interface Asked {
  readonly image: ImageSource;
  readonly words: readonly string[];
  readonly signal: AbortSignal;
  readonly answer: (found: Segmentation) => void;
}

/** A back end that answers when the test says so. */
class Slow implements Backend {
  readonly atOnce = 2;
  readonly asked: Asked[] = [];

  async load() {
    return { name: "slow", hasParts: false, place: "", taught: [], mostPixels: 1e6 };
  }

  segment(image: ImageSource, { words }: { words: readonly string[] }, signal: AbortSignal): Promise<Segmentation> {
    return new Promise((answer) => this.asked.push({ image, words, signal, answer }));
  }
}

async function opened(): Promise<BrowserStore> {
  return new BrowserStore(await Database.open());
}

function item(id: string, store: BrowserStore): Item {
  return new Item({ id, order: 0, removed: null, state: newState(`${id}.png`, { width: 2, height: 1 }) }, store);
}

async function started(...ids: string[]) {
  const store = await opened(), session = new Session(store),
    backend = new Slow();
  const labeler = new Labeler(session, { service: backend });
  session.items.value = ids.map((id) => item(id, store));
  session.settings.place.value = "service";
  session.settings.words.value = ["cat"];
  labeler.start();
  await pause();
  return { session, backend, labeler };
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 500));
}

const ANSWER = found(["00"], ["cat"]);

test("the chosen image is labeled first, then the others, as many at once as the back end takes", async () => {
  const { session, backend, labeler } = await started("a", "b", "c");
  assert.deepEqual(backend.asked.map(({ image }) => image.id), ["a", "b"]);
  session.opening.value = session.items.value[2];
  backend.asked[0].answer(ANSWER);
  await pause();
  assert.deepEqual(backend.asked.map(({ image }) => image.id), ["a", "b", "c"]);
  assert.deepEqual(session.items.value.map((one) => labeler.isLabeled(one)), [true, false, false]);
});

test("other words end what runs, and are looked for in all images", async () => {
  const { session, backend, labeler } = await started("a", "b");
  backend.asked[0].answer(ANSWER);
  await pause();
  session.settings.words.value = ["cat", "dog"];
  assert.ok(backend.asked[1].signal.aborted);
  await pause();
  assert.deepEqual(backend.asked.slice(2).map(({ image, words }) => [image.id, words.length]), [["a", 2], ["b", 2]]);
  // an answer to what nobody asks any more is dropped
  backend.asked[1].answer(ANSWER);
  await pause();
  assert.ok(!labeler.isLabeled(session.items.value[1]));
});

test("only a full browser empties the trash; what fails is written again, and told until then", async () => {
  const store = await opened(), session = new Session(store);
  const forgotten: string[] = [];
  const failures = [new DOMException("The connection is closing.", "InvalidStateError"), new Error("a fault"), new TransientError("Away.")];
  const isFull = new DOMException("Full.", "QuotaExceededError");
  let saved = 0;
  Object.assign(store, {
    forget: async (ids: string[]) => void forgotten.push(...ids),
    saveRemoved: async () => {
      const failure = failures.shift();
      if (failure) throw failure;
      saved++;
    },
  });
  session.items.value = ["a", "b"].map((id) => item(id, store));
  const [first, second] = session.items.value;
  await session.remove(first);
  assert.match(session.problem.value!, /connection is closing/);
  // a message that was read stays away
  session.problem.value = null;
  for (let tries = 0; !saved && tries < 100; tries++) await pause();
  assert.deepEqual([saved, forgotten, session.problem.value], [1, [], null]);
  failures.push(isFull);
  await session.remove(second);
  assert.deepEqual([saved, forgotten, session.removed.value], [2, ["a", "b"], []]);
});

test("words keep their ids and colors while others come and go", () => {
  const first = withLookedFor([], ["cat", "sofa, couch", "wall"]);
  assert.equal(withLookedFor(first, ["cat", "sofa, couch", "wall"]), first);
  const second = withLookedFor(first, ["wall", "dog", "constructor"], ["couch", "background"]);
  const all = ["cat", "sofa", "wall", "dog", "constructor", "background"];
  assert.deepEqual(all.map((word) => colorOf(second, word)), all.map((_, at) => wordColor(at)));
  assert.deepEqual(second.filter(({ removed }) => !removed).map(({ id }) => id), [2, 3, 4]);
  const renamed = withName(second, "dog", "hound, dog");
  assert.deepEqual([renamed[3].id, renamed[3].name, renamed[3].removed], [3, "hound, dog", false]);
  // removed words give their colors back only when there are no others, and never their ids
  const many = Array.from({ length: MOST_WORDS }, (_, at) => `word ${at}`);
  const full = withLookedFor(second, [...many.slice(2), "wall"]);
  assert.deepEqual(colorOf(full, "wall"), wordColor(2));
  const looked = full.filter(({ removed }) => !removed);
  assert.equal(new Set(looked.map(({ color }) => color.join())).size, looked.length);
  assert.equal(new Set(full.map(({ id }) => id)).size, full.length);
});

test("a word gets the pixels of another one in all images, and gives them back", async () => {
  const { session, backend } = await started("open", "closed");
  const watch = (one: Session) => one.store.watch(watcherOf(one, new Nearby(() => Promise.reject(new Error("nothing is read ahead")))));
  watch(session);
  session.settings.words.value = ["cat", "kitty", "dog"];
  session.settings.vocabulary.value = withLookedFor([], session.settings.words.value);
  await pause();
  for (const { image, answer } of backend.asked.slice(-2)) answer({ ...found(["11"], ["cat", "kitty", "dog"]), width: image.width });
  await pause();
  const pixels = () => session.items.value.map(({ summary }) => summary.value.pixels);
  assert.deepEqual(pixels(), [{ 1: 2 }, { 1: 2 }]);
  await session.merge("kitty", "cat");
  assert.deepEqual(session.settings.words.value, ["cat", "dog"]);
  assert.deepEqual(pixels(), [{ 0: 2 }, { 0: 2 }]);
  // the page is opened again
  const next = new Session(session.store);
  const { vocabulary, words } = session.settings;
  useProject(next.settings, { ...projectOf(session.settings), words: withLookedFor(vocabulary.value, words.value) });
  restore(next.settings, valuesOf(session.settings));
  next.items.value = session.items.value;
  watch(next);
  await next.separate(next.settings.merged.value!);
  assert.deepEqual([...next.settings.words.value].sort(), ["cat", "dog", "kitty"]);
  assert.deepEqual([pixels(), next.settings.merged.value], [[{ 1: 2 }, { 1: 2 }], null]);
});

test("merged corrections, answers and done labels come back pixel by pixel", () => {
  const size = { width: 4, height: 1 };
  const { labels, confidence } = found(["0112"], ["a", "b", "c"]);
  const draft = { ...found(["0112"], []), labels, confidence, ids: [7, 8, 9] };
  const edits = editsOf(Uint16Array.of(0, 10, 9, 0), { layer: null, ids: [] });
  const work = { draft, edits, settled: Uint16Array.of(7, 8, 7, 9) };
  const planes = ({ draft, edits, settled }: Work) => [
    [...draft!.labels].map((label) => draft!.ids[label]),
    [...unpacked(correctionsOf(edits, size))],
    [...settled!],
  ];
  const merged = exchanged(work, size, 8, 7);
  assert.deepEqual(planes(merged), [[7, 7, 7, 9], [0, 9, 9, 0], [7, 7, 7, 9]]);
  assert.deepEqual(planes(exchanged(merged, size, 7, 8, work)), planes(work));
  // what was painted since stays
  const painted = { ...merged, edits: editsOf(Uint16Array.of(0, 11, 9, 0), { layer: null, ids: [] }) };
  assert.deepEqual(planes(exchanged(painted, size, 7, 8, work))[1], [0, 11, 9, 0]);
});

test("removed words stay where a person painted them", () => {
  const edits = new Edits(2, 1);
  edits.paint(Int32Array.of(0, 1), "kitty");
  const vocabulary = withLookedFor(withLookedFor([], ["cat", "kitty"]), ["cat"]);
  const labeling = labelingWith(found(["00"], ["cat"]), edits, null, { vocabulary, rule: { threshold: 0, background: null } });
  assert.deepEqual([labeling.wordAt(0), labeling.wordAt(1)], ["kitty", "cat"]);
  assert.deepEqual(labeling.ids, [0, 1]);
});
