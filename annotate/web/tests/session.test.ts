import assert from "node:assert/strict";
import { test } from "node:test";

import { type Backend, type ImageSource, type Segmentation, TransientError } from "../src/backend";
import type { Picture } from "../src/imaging/picture";
import { MOST_WORDS, wordColor } from "../src/imaging/palette";
import { Edits } from "../src/labels/edits";
import { Labeling } from "../src/labels/labeling";
import { BrowserStore } from "../src/project/browser_store";
import { Database } from "../src/project/database";
import { newState, NO_WORK, type Work } from "../src/project/structure";
import { entryOf, withLookedFor, withWord } from "../src/project/words";
import { Item } from "../src/session/item";
import { Labeler } from "../src/session/labeler";
import { Nearby, OpenImage } from "../src/session/open_image";
import { Session } from "../src/session/session";
import { lookFor } from "../src/session/settings";
import { watcherOf } from "../src/session/watching";
import { ALL, draft, found } from "./labeled";

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
  lookFor(session.settings, ["cat"]);
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
  lookFor(session.settings, ["cat", "dog"]);
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
  assert.equal(session.writer.pending.value, 1);
  // a message that was read stays away
  session.problem.value = null;
  for (let tries = 0; !saved && tries < 100; tries++) await pause();
  assert.deepEqual([saved, forgotten, session.problem.value], [1, [], null]);
  await session.writer.idle();
  failures.push(isFull);
  await session.remove(second);
  assert.deepEqual([saved, forgotten, session.removed.value], [2, ["a", "b"], []]);
});

test("an image that is cleared right after a stroke doesn't come back", async () => {
  const { session, backend } = await started("a");
  backend.asked[0].answer(ANSWER);
  await pause();
  const picture = { close() {} } as Picture;
  const image = new OpenImage(session.items.value[0], picture, await session.store.work("a"), session.settings);
  session.current.value = image;
  image.paint(Int32Array.of(0, 1), null);
  image.finish();
  session.keepEdits(image);
  await session.clear();
  session.close();
  await session.writer.idle();
  assert.deepEqual((await session.store.open()).images, []);
});

test("words keep their ids and colors while others come and go", () => {
  const first = withLookedFor([], ["cat", "sofa, couch", "wall"]);
  assert.equal(withLookedFor(first, ["cat", "sofa, couch", "wall"]), first);
  const second = withLookedFor(first, ["wall", "dog", "constructor"], ["couch", "background"]);
  const all = ["cat", "sofa", "wall", "dog", "constructor", "background"];
  assert.deepEqual(all.map((word) => entryOf(second, word)!.color), all.map((_, at) => wordColor(at)));
  assert.deepEqual(second.filter(({ removed }) => !removed).map(({ id }) => id), [2, 3, 4]);
  const renamed = withWord(second, 3, { name: "hound, dog" });
  assert.deepEqual([renamed[3].id, renamed[3].name, renamed[3].removed], [3, "hound, dog", false]);
  // removed words give their colors back only when there are no others, and never their ids
  const many = Array.from({ length: MOST_WORDS }, (_, at) => `word ${at}`);
  const full = withLookedFor(second, [...many.slice(2), "wall"]);
  assert.deepEqual(entryOf(full, "wall")!.color, wordColor(2));
  const looked = full.filter(({ removed }) => !removed);
  assert.equal(new Set(looked.map(({ color }) => color.join())).size, looked.length);
  assert.equal(new Set(full.map(({ id }) => id)).size, full.length);
});

test("a word gets the pixels of another one in all images, also in what can be undone", async () => {
  const { session, backend } = await started("open", "closed");
  session.store.watch(watcherOf(session, new Nearby(() => Promise.reject(new Error("nothing is read ahead")))));
  lookFor(session.settings, ["cat", "kitty", "dog"]);
  await pause();
  for (const { image, answer } of backend.asked.slice(-2)) answer({ ...found(["11"], ["cat", "kitty", "dog"]), width: image.width });
  await pause();
  const [first] = session.items.value;
  const image = new OpenImage(first, {} as Picture, await session.store.work("open"), session.settings);
  session.current.value = image;
  for (const id of [1, 2]) {
    image.paint(Int32Array.of(0, 1), id);
    image.finish();
    session.keepEdits(image);
  }
  await pause();
  const pixels = () => session.items.value.map(({ summary }) => summary.value.pixels);
  assert.deepEqual(pixels(), [{ 1: 1, 2: 1 }, { 1: 2 }]);
  await session.merge(1, 0);
  assert.deepEqual(session.settings.words.value, ["cat", "dog"]);
  assert.deepEqual(pixels(), [{ 0: 1, 2: 1 }, { 0: 2 }]);
  image.step("undo");
  assert.deepEqual([...image.labeling.value!.labels], [0, 0]);
});

test("an image that changes while it is opened is read again, up to the moment in which it is shown", async () => {
  const item = { summary: { value: { revision: 1 } }, width: 1, height: 1 } as unknown as Item;
  const waiting: ((work: Work) => void)[] = [],
    closed: Work[] = [];
  const nearby = new Nearby(async () => {
    const work = await new Promise<Work>((resolve) => waiting.push(resolve));
    return { picture: { close: () => closed.push(work) } as unknown as Picture, work, revision: 1 };
  });
  const [before, now] = [NO_WORK, { ...NO_WORK }];
  const shown: Work[] = [];
  const opening = nearby.take(item, async () => {}, ({ work }) => shown.push(work));
  waiting[0](before);
  // the change of somebody else comes when the work before it was read
  await Promise.resolve();
  nearby.drop(item);
  await pause();
  waiting[1](now);
  await opening;
  assert.ok(shown.length === 1 && shown[0] === now);
  assert.ok(closed.length === 1 && closed[0] === before);
});

test("removed words stay where a person painted them", () => {
  const edits = new Edits(2, 1);
  edits.paint(Int32Array.of(0, 1), 1);
  const vocabulary = withLookedFor(withLookedFor([], ["cat", "kitty"]), ["cat"]);
  const labeling = new Labeling(draft(["00"], [0]), edits, { vocabulary, rule: ALL });
  assert.deepEqual([...labeling.labels].map((id) => labeling.word(id).name), ["kitty", "cat"]);
  assert.deepEqual(labeling.words.map(({ id }) => id), [0, 1]);
});
