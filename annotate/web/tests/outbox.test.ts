import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { unpacked } from "../src/labels/layer";
import { baseOf } from "../src/project/rebasing";
import { Outbox, type Unsent, type UnsentWork } from "../src/project/outbox";
import { newState } from "../src/project/structure";
import { Database } from "../src/project/database";
import { entryOf } from "../src/project/words";
import { lookFor } from "../src/session/settings";
import { withWords } from "../src/words/list";
import { type Fate, idle, people, Person, ProjectService, until } from "./project_service";

afterEach(() => people.splice(0).forEach((person) => person.close()));

function work(image: string): UnsentWork {
  const state = newState(image, { width: 1, height: 1 });
  return { kind: "work", image, base: baseOf(0, null, state), change: image, state };
}

test("what is refused holds up its own image alone, images take turns, and other content is tried again", async () => {
  const outbox = new Outbox(await Database.open());
  const add = <Kind extends Unsent>(unsent: Kind) => outbox.add<Kind>({ unsent, sent: null, refused: null, by: "" });
  const [a, b, c] = ["a", "b", "c"].map((image) => add(work(image)));
  const next = (isReady = true) => outbox.next(() => isReady);
  assert.deepEqual([next(), next(false)], [a, null]);
  void outbox.mark(a, "no");
  assert.deepEqual([next(), outbox.waiting.value, outbox.refused.value], [b, 2, [a]]);
  outbox.postpone(b);
  assert.equal(next(), c);
  c.isHeld = true;
  assert.equal(next(), b);
  void outbox.amend(a, a.unsent);
  assert.equal(next(), a);
  // work doesn't wait for a removal that was refused
  void outbox.drop(a);
  const removal = add({ ...work("a"), kind: "removal", isRemoved: true });
  assert.ok(outbox.isRemoved("a"));
  const again = add(work("a"));
  void outbox.mark(removal, "no");
  void outbox.drop(b);
  assert.deepEqual([next(), outbox.isRemoved("a")], [again, false]);
  // words come first, unless the service can't take them now
  const project = { name: "", revision: 1, words: [], options: { parts: "", threshold: 0, background: null } };
  const words = add({ kind: "project", base: project, project, change: "3" });
  assert.equal(next(), words);
  outbox.postpone(words);
  assert.equal(next(), again);
});

/** Labels a project by two words; its last image is open. */
async function opened(service: ProjectService, person: Person, last = "b.png"): Promise<void> {
  await person.label("floor", "cat");
  await idle(person);
  await person.session.open(person.session.items.value.find(({ id }) => id === last)!);
  await person.session.take(person.session.current.value!.item, { ...person.session.current.value!.item.summary.value, ...answer, quality: null }, "question");
  await idle(person);
  assert.ok(service.states.get(last)!.revision);
}

const answer = {
  ...{ labels: new Uint16Array(6), confidence: new Uint8Array(6).fill(200), words: ["floor", "cat"] },
  ...{ parts: null, model: "tiny", dtype: "", seconds: 0 },
};

test("an annotator's removal is refused, shown and given back, and strokes of other images are sent, also after a reload", async () => {
  const service = new ProjectService("a.png", "b.png");
  const anna = await Person.of(service, "annotate");
  await opened(service, anna);
  assert.ok(anna.store.may("administer"));
  await anna.session.remove(anna.session.items.value.find(({ id }) => id === "a.png")!);
  anna.paint(1, "cat");
  await idle(anna);
  assert.deepEqual([service.labels("b.png")[1], service.trash.size], ["cat", 0]);
  const refusals = () => anna.store.refused.value.map(({ unsent, refused }) => [unsent.kind, unsent.kind !== "project" && unsent.image, /role administer/.test(refused!)]);
  assert.deepEqual(refusals(), [["removal", "a.png", true]]);
  assert.deepEqual(anna.session.items.value.map(({ id }) => id).sort(), ["a.png", "b.png"]);
  // what the role may not do isn't offered any more
  assert.deepEqual([anna.store.may("administer"), anna.store.may("annotate")], [false, true]);
  anna.close();
  await anna.open();
  assert.deepEqual([refusals(), anna.session.items.value.length], [[["removal", "a.png", true]], 2]);
  await anna.session.open(anna.session.items.value.find(({ id }) => id === "a.png")!);
  anna.paint(2, "cat");
  await idle(anna);
  assert.equal(service.labels("a.png")[2], "cat");
  anna.store.retry(anna.store.refused.value[0]);
  await until(() => anna.store.refused.value.length > 0);
  await anna.store.discard(anna.store.refused.value[0]);
  assert.deepEqual([anna.store.refused.value, anna.store.waiting.value], [[], 0]);
});

test("somebody who may only look sees each change refused, and nothing is lost until it is discarded", async () => {
  const service = new ProjectService("a.png");
  const boss = await Person.of(service);
  await boss.label("floor", "cat");
  await idle(boss);
  const guest = await Person.of(service, "read");
  await idle(guest);
  guest.paint(1, "cat");
  lookFor(guest.session.settings, ["floor", "cat", "lamp"]);
  await until(() => guest.store.refused.value.length === 2);
  assert.ok(!guest.session.canCorrect.value);
  const stroke = guest.store.refused.value.map(({ unsent }) => unsent).find((unsent) => unsent.kind === "work")!;
  assert.deepEqual([...unpacked((await guest.store.workWith(stroke)).edits!.layer)], [0, 3, 0, 0, 0, 0]);
  for (const refusal of guest.store.refused.value) await guest.store.discard(refusal);
  await until(() => guest.labels[1] === "floor");
  assert.deepEqual(guest.session.settings.words.value, ["floor", "cat"]);
  // a service that says what a key may do is believed at once
  service.saysRole = true;
  const other = await Person.of(service, "annotate");
  assert.deepEqual([other.store.may("annotate"), other.store.may("administer"), other.session.canCorrect.value], [true, false, true]);
  guest.close();
  await guest.open();
  assert.ok(guest.session.isLabeled.value && !guest.session.canCorrect.value);
});

test("a word isn't kept twice; words that are refused hold up the strokes that need them, and no others", async () => {
  assert.deepEqual(withWords(["cat"], ["Cat"]).words, ["cat"]);
  const service = new ProjectService("a.png", "b.png");
  const anna = await Person.of(service);
  await opened(service, anna);
  service.fail("PUT", "", ...Array<Fate>(1).fill("refused"));
  lookFor(anna.session.settings, ["floor", "cat", "lamp"]);
  anna.paint(1, "cat");
  await until(() => service.labels("b.png")[1] === "cat" && anna.store.refused.value.length === 1);
  anna.paint(2, "lamp");
  await until(() => !anna.session.writer.pending.value);
  assert.deepEqual([anna.store.refused.value[0].unsent.kind, anna.store.waiting.value], ["project", 1]);
  anna.close();
  await anna.open();
  assert.deepEqual(anna.store.refused.value.length, 1);
  anna.store.retry(anna.store.refused.value[0]);
  await until(() => anna.store.refused.value.length === 0 && anna.isIdle);
  assert.deepEqual(service.labels("b.png").slice(1, 3), ["cat", "lamp"]);
});

test("a change that is refused once is kept over a reload, tried again, and others don't wait for a question", async () => {
  const service = new ProjectService("a.png", "b.png");
  const anna = await Person.of(service);
  await opened(service, anna);
  const ben = await Person.of(service);
  service.fail("PUT", "/work/b.png", "refused");
  anna.paint(1, "cat");
  await until(() => anna.store.refused.value.length === 1);
  await pause();
  anna.kill();
  await anna.open();
  await idle(anna);
  assert.equal((anna.store.refused.value[0].unsent as UnsentWork).image, "b.png");
  anna.store.retry(anna.store.refused.value[0]);
  await idle(anna);
  assert.deepEqual([anna.store.refused.value, service.labels("b.png")[1]], [[], "cat"]);
  // both collide in a.png: while anna is asked, another image of hers is sent
  await anna.session.open(anna.session.items.value.find(({ id }) => id === "a.png")!);
  await ben.session.open(ben.session.items.value.find(({ id }) => id === "a.png")!);
  service.fail("PUT", "/work/a.png", "lost", "lost", "lost");
  ben.paint(0, "cat");
  anna.session.current.value!.paint(Int32Array.of(0, 1), null);
  anna.session.current.value!.finish();
  anna.session.keepEdits(anna.session.current.value!);
  await until(() => (anna.session.conflict.value ?? ben.session.conflict.value) !== null);
  const asked = anna.session.conflict.value ? anna : ben;
  await asked.session.open(asked.session.items.value.find(({ id }) => id === "b.png")!);
  asked.paint(3, "cat");
  await until(() => service.labels("b.png")[3] === "cat");
  asked.session.conflict.value!.answer("both");
  await idle(anna, ben);
});

test("a word that can't be renamed any more keeps its name, and its author is told", async () => {
  const service = new ProjectService("a.png");
  const anna = await Person.of(service);
  await opened(service, anna, "a.png");
  const ben = await Person.of(service);
  service.fail("PUT", "", "lost", "lost", "lost", "lost");
  anna.session.rename(entryOf(anna.session.settings.vocabulary.value, "cat")!.id, "Roof");
  await until(() => anna.store.isAway.value);
  anna.kill();
  lookFor(ben.session.settings, ["floor", "cat", "roof"]);
  await idle(ben);
  await anna.open();
  await idle(anna);
  assert.deepEqual(anna.session.settings.words.value, ["floor", "cat", "roof"]);
  assert.match(anna.session.problem.value!, /^“cat” keeps its name: another word is “Roof” by now/);
});

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2000));
}

test("on a shared computer, what waits goes under the name of who made it, and waits for that key", async () => {
  const service = new ProjectService("a.png");
  service.keyName = "anna";
  const anna = await Person.of(service);
  await opened(service, anna, "a.png");
  service.fail("PUT", "/work", ...Array<Fate>(40).fill("lost"));
  anna.paint(1, "cat");
  await until(() => anna.store.isAway.value && !anna.session.writer.pending.value);
  anna.close();
  service.fate = () => "answered";
  service.keyName = "ben";
  await anna.open();
  assert.match(anna.session.problem.value!, /Changes of “anna” wait in this browser/);
  await idle(anna);
  assert.deepEqual([service.labels("a.png")[1], anna.labels[1], anna.store.waiting.value], ["floor", "floor", 0]);
  anna.close();
  service.keyName = "anna";
  await anna.open();
  await idle(anna);
  assert.equal(service.labels("a.png")[1], "cat");
  // without keys, under the name that was typed then
  service.keyName = null;
  const cleo = await Person.of(service, "administer", await Database.open());
  cleo.name("cleo");
  await idle(cleo);
  service.fail("PUT", "/work", ...Array<Fate>(1).fill("lost"));
  cleo.paint(2, "cat");
  await until(() => cleo.store.waiting.value > 0);
  cleo.name("dan");
  await idle(cleo);
  assert.equal(service.users.at(-1), "cleo");
});
