import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import type { Choice } from "../src/project/structure";

import { lookFor } from "../src/session/settings";
import { type Fate, idle, people, Person, ProjectService, until } from "./project_service";

const WORDS = ["floor", "cat", "wall"];

afterEach(() => people.splice(0).forEach((person) => person.close()));

async function street(): Promise<{ service: ProjectService; anna: Person; ben: Person }> {
  const service = new ProjectService("a.png");
  const anna = await Person.of(service);
  await anna.label(...WORDS);
  await idle(anna);
  const ben = await Person.of(service);
  await idle(ben);
  return { service, anna, ben };
}

type Act = (anna: Person, ben: Person) => void;

const PAINTS: readonly Act[] = [
  (anna) => anna.paint(1, "cat"),
  (anna) => anna.paint(2, "wall"),
  (_, ben) => ben.paint(4, "cat"),
];

const ORDERS = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

const FATES: readonly Fate[] = ["answered", "lost", "unanswered"];

/** What may become of three requests. */
const ALL_FATES = FATES.flatMap((one) => FATES.flatMap((two) => FATES.map((three) => [one, two, three])));

/** All cases at once, since most of the time they wait. */
async function each<Case>(cases: readonly Case[], run: (one: Case) => Promise<void>): Promise<void> {
  await Promise.all(cases.map(run));
}

test("three strokes of two people come once each, whatever is lost, in any order", async () => {
  for (const isWaiting of [false, true])
    for (const order of ORDERS)
      await each(isWaiting ? ALL_FATES : ALL_FATES.slice(0, 9), async (fates) => {
        const { service, anna, ben } = await street();
        const before = service.states.get("a.png")!.revision;
        service.fail("PUT", "/work", ...fates);
        for (const number of order) {
          PAINTS[number](anna, ben);
          if (isWaiting) await idle(anna, ben);
        }
        await idle(anna, ben);
        const told = `${order} ${fates} ${isWaiting}`;
        const labels = ["floor", "cat", "wall", "floor", "cat", "floor"];
        assert.deepEqual(service.labels("a.png"), labels, told);
        assert.deepEqual([anna.labels, ben.labels], [labels, labels], told);
        const revisions = service.states.get("a.png")!.revision - before;
        // strokes that wait together are one change
        if (isWaiting) assert.equal(revisions, 3, told);
        else assert.ok(revisions <= 3, told);
      });
});

test("a done mark is one change, and stays whatever is lost; reopening is one, too", async () => {
  await each(ALL_FATES, async (fates) => {
    const { service, anna, ben } = await street();
    const before = service.states.get("a.png")!.revision;
    service.fail("PUT", "/work", ...fates);
    anna.paint(1, "cat");
    await anna.session.finish();
    await idle(anna, ben);
    const { done, revision } = service.states.get("a.png")!;
    assert.ok(done && revision - before <= 2, `${fates}`);
    assert.ok(ben.session.current.value!.item.isDone.value && anna.session.current.value!.item.isDone.value);
    assert.equal(ben.labels[1], "cat");
    anna.session.reopen();
    anna.paint(2, "wall");
    await idle(anna, ben);
    const reopened = service.states.get("a.png")!;
    assert.ok(!reopened.done && reopened.revision - revision <= 2, `${fates}`);
    assert.deepEqual(ben.labels.slice(0, 3), ["floor", "cat", "wall"]);
    anna.session.finish();
    await idle(anna, ben);
    assert.equal(service.states.get("a.png")!.revision, reopened.revision + 1);
    anna.session.reopen();
    await idle(anna, ben);
    assert.deepEqual([service.states.get("a.png")!.revision, service.states.get("a.png")!.done], [reopened.revision + 2, false]);
  });
});

test("somebody who is done while somebody else paints loses no stroke, and both are asked where they collide", async () => {
  for (const isFirst of [true, false])
    for (const choice of ["both", "mine", "theirs"] as readonly Choice[])
      await each(ALL_FATES.slice(0, 9), async (fates) => {
        const { service, anna, ben } = await street();
        service.fail("PUT", "/work", ...fates);
        const acts = [() => void anna.session.finish(), () => ben.paint(4, "cat")];
        for (const act of isFirst ? acts : acts.reverse()) act();
        const answered = new Set<unknown>();
        const answer = () => {
          const asked = ben.session.conflict.value;
          if (asked && !answered.has(asked)) asked.answer(choice);
          answered.add(asked);
          return anna.isIdle && ben.isIdle;
        };
        await until(answer);
        const { done } = service.states.get("a.png")!;
        const isTheirs = service.labels("a.png")[4] === "floor";
        // who takes the others' version has asked for it; else the stroke is there, and the image waits for a look
        assert.deepEqual([done, isTheirs], answered.size > 1 && choice === "theirs" ? [true, true] : [false, false], `${isFirst} ${choice} ${fates}`);
        assert.deepEqual(anna.labels, ben.labels);
      });
});

test("whatever request for changes fails, all changes of others are shown", async () => {
  for (const [path, count] of [["/changes", 1], ["/changes", 3], ["/work", 1], ["/work", 3]] as const)
    for (const fate of FATES.slice(1)) {
      const { service, anna, ben } = await street();
      service.states.set("b.png", { ...service.states.get("a.png")!, image: "b.png", revision: 0 });
      service.fail("GET", path, ...Array<Fate>(count).fill(fate));
      anna.paint(1, "cat");
      await idle(anna, ben);
      anna.paint(3, "wall");
      await idle(anna, ben);
      assert.deepEqual(ben.labels, ["floor", "cat", "floor", "wall", "floor", "floor"]);
    }
});

test("a change that comes while an older answer is read is shown, of others and of this page", async () => {
  const changes: readonly Act[] = [(anna) => void anna.session.finish(), (anna) => anna.paint(4, "wall"), (_, ben) => ben.paint(4, "wall")];
  for (const change of changes) {
    const { service, anna, ben } = await street();
    const { fetch } = service;
    const isRead = ({ pathname }: URL, { method = "GET" }: RequestInit) => method === "GET" && pathname.endsWith("/work/a.png");
    let isHeld = false;
    service.fetch = async (address, request) => {
      const holds = isRead(address, request) && !isHeld;
      isHeld ||= holds;
      const answer = await fetch.call(service, address, request);
      if (holds) await until(() => service.states.get("a.png")!.revision > revision && ben.isHeard && !ben.store.waiting.value, "the change came");
      return answer;
    };
    anna.paint(1, "cat");
    await until(() => isHeld, "the stroke is read");
    const { revision } = service.states.get("a.png")!;
    change(anna, ben);
    await idle(anna, ben);
    const { done } = service.states.get("a.png")!;
    assert.deepEqual([anna, ben].map(({ session }) => session.current.value!.item.isDone.value), [done, done]);
    assert.deepEqual([anna.labels, ben.labels], [service.labels("a.png"), service.labels("a.png")]);
  }
});

test("what can be undone survives a reload, unless somebody else went on from it", async () => {
  const { anna, ben } = await street();
  anna.paint(1, "cat");
  anna.paint(2, "wall");
  await idle(anna, ben);
  anna.close();
  await anna.open();
  anna.session.current.value!.step("undo");
  anna.session.keepEdits(anna.session.current.value!);
  await idle(anna, ben);
  assert.deepEqual([anna.labels, ben.labels].map((labels) => labels.slice(1, 3)), [["cat", "floor"], ["cat", "floor"]]);
  anna.close();
  ben.paint(3, "wall");
  await idle(ben);
  await anna.open();
  assert.deepEqual([anna.labels[3], anna.session.current.value!.edits.canUndo], ["wall", false]);
});

test("removing and putting back are sent until the service has them, also by the next page", async () => {
  for (const fate of FATES) {
    const { service, anna, ben } = await street();
    const [item] = anna.session.items.value;
    service.fail("DELETE", "/images", fate, "lost");
    anna.paint(1, "cat");
    await anna.session.remove(item);
    anna.close();
    await anna.open();
    assert.deepEqual([anna.session.items.value.length, anna.session.removed.value.length], [0, 1]);
    await idle(anna, ben);
    assert.deepEqual([[...service.trash.keys()], service.labels("a.png")[1]], [["a.png"], "cat"]);
    assert.equal(ben.session.current.value, null);
    service.fail("POST", "/restored", fate, "lost");
    await anna.session.putBack();
    await idle(anna, ben);
    await until(() => anna.session.current.value !== null);
    assert.deepEqual([service.trash.size, ben.session.items.value.length, anna.labels[1]], [0, 1, "cat"]);
  }
});

test("an upload is there once, and is opened, whatever is lost", async () => {
  await each(ALL_FATES, async ([posted, read, opened]) => {
    const { service, anna, ben } = await street();
    service.fail("POST", "/images", posted, "answered");
    service.fail("GET", "/images/b.png", read, opened);
    await anna.session.add([new File(["image"], "b.png", { type: "image/png" })]);
    assert.equal(anna.session.chosen.value?.name, "b.png");
    await idle(anna, ben);
    for (const { session } of [anna, ben]) assert.deepEqual(session.items.value.map(({ name }) => name), ["a.png", "b.png"]);
    assert.equal(anna.session.problem.value, null);
  });
});

test("a review and a merge come once, whatever is lost", async () => {
  for (const fate of FATES) {
    const { service, anna } = await street();
    await anna.session.finish();
    await idle(anna);
    const { revision } = service.states.get("a.png")!;
    service.fail("PUT", "/review", fate, "lost");
    await anna.session.review("accepted");
    const state = service.states.get("a.png")!;
    assert.deepEqual([state.review?.verdict, state.revision, anna.session.problem.value], ["accepted", revision + 1, null], fate);
    service.fail("POST", "/merged", fate, "lost");
    const before = service.project.revision;
    await anna.session.merge(1, 0);
    assert.equal(service.project.revision, before + 1, fate);
  }
});

test("nothing is accepted while the service is away, and the page says so, also where that was dismissed", async () => {
  const { service, anna } = await street();
  await anna.session.finish();
  await idle(anna);
  const { fate } = service;
  service.fate = () => "lost";
  void anna.store.file("a.png");
  await until(() => anna.store.isAway.value);
  anna.session.problem.value = null;
  await anna.session.review("accepted");
  assert.match(anna.session.problem.value!, /^No connection to the service; try again/);
  service.fate = fate;
  await until(() => !anna.store.isAway.value);
  await anna.session.review("accepted");
  assert.equal(service.states.get("a.png")!.review?.verdict, "accepted");
});

test("of two tabs that are opened at once, one sends what a killed tab left", async () => {
  const { service, anna } = await street();
  service.fate = (method) => (method === "PUT" ? "lost" : "answered");
  anna.paint(1, "cat");
  await until(() => !anna.session.writer.pending.value);
  anna.kill();
  const tabs = await Promise.all([0, 1].map(() => Person.of(service, "administer", anna.database)));
  assert.equal(tabs.reduce((sum, { store }) => sum + store.waiting.value, 0), 1);
});

test("a stroke on an image that somebody removed waits until it is put back", async () => {
  const { service, anna, ben } = await street();
  service.fail("PUT", "/work", "lost");
  anna.paint(1, "cat");
  await ben.session.remove(ben.session.items.value[0]);
  await idle(anna, ben);
  assert.match(anna.store.refused.value[0].refused!, /removed by somebody/);
  await ben.session.putBack();
  await until(() => service.labels("a.png")[1] === "cat");
});

test("labels of a model for an image that somebody removed meanwhile are dropped", async () => {
  const { service, anna, ben } = await street();
  service.fail("PUT", "/work", "lost");
  await anna.label(...WORDS);
  await ben.session.remove(ben.session.items.value[0]);
  await idle(anna, ben);
  assert.deepEqual([anna.store.refused.value, anna.store.waiting.value], [[], 0]);
});

test("work with a word of somebody else is never taken for one of a new word here", async () => {
  const { service, anna, ben } = await street();
  service.fail("GET", "/changes", ...Array<Fate>(40).fill("lost"));
  lookFor(ben.session.settings, [...WORDS, "door"]);
  ben.paint(4, "door");
  await until(() => service.work.size > 0 && service.labels("a.png")[4] === "door");
  anna.close();
  // the page read the project before, and the image after that
  const project = { ...service.project, words: service.project.words.slice(0, 3), revision: service.project.revision - 1 };
  const now = service.project;
  service.project = project;
  const opening = anna.open();
  await until(() => anna.session.settings.vocabulary.value.length === 3);
  service.project = now;
  await opening;
  await until(() => anna.labels[4] === "door", "the word is known");
  lookFor(anna.session.settings, [...anna.session.settings.words.value, "lamp"]);
  anna.paint(1, "lamp");
  await idle(anna, ben);
  const labels = ["floor", "lamp", "floor", "floor", "door", "floor"];
  assert.deepEqual([service.labels("a.png"), anna.labels, ben.labels], [labels, labels, labels]);
});

test("an open page neither sends to another project at its address nor hears of it, and goes on once its own is back", async () => {
  const { service, anna } = await street();
  const kitchen = new ProjectService("a.png");
  kitchen.project = { ...kitchen.project, name: "kitchen" };
  const ben = await Person.of(kitchen);
  await ben.label("cup", "table", "spoon");
  await idle(ben);
  service.answersFor(kitchen);
  anna.paint(1, "cat");
  lookFor(anna.session.settings, [...WORDS, "lamp"]);
  await until(() => /opened for the project “street”, and “kitchen” answers now/.test(anna.session.problem.value ?? ""), "the page says so");
  ben.paint(2, "table");
  await idle(ben);
  assert.deepEqual([kitchen.labels("a.png"), anna.store.waiting.value], [["cup", "cup", "table", "cup", "cup", "cup"], 2]);
  assert.deepEqual([kitchen.project.name, kitchen.project.words.length, anna.labels[2]], ["kitchen", 3, "floor"]);
  service.answersFor(service);
  await idle(anna);
  assert.deepEqual([service.labels("a.png")[1], service.project.words.length, anna.session.problem.value], ["cat", 4, null]);
});

test("what is painted with a word, can be undone or waits means the word that it is merged into by somebody else", async () => {
  const { service, anna, ben } = await street();
  for (const word of ["wall", "cat"]) anna.paint(1, word);
  await idle(anna, ben);
  // of a closed page, what waits and what can be undone
  service.fail("PUT", "/work", ...Array<Fate>(40).fill("lost"));
  anna.paint(2, "wall");
  await until(() => !anna.session.writer.pending.value && anna.store.waiting.value > 0);
  await ben.session.merge(2, 0);
  service.fate = () => "answered";
  await idle(anna, ben);
  assert.deepEqual([service.labels("a.png"), anna.labels, ben.labels].map((labels) => labels.slice(0, 3)), Array(3).fill(["floor", "cat", "floor"]));
  assert.deepEqual([anna.session.settings.words.value, anna.session.conflict.value], [["floor", "cat"], null]);
  const undo = async () => {
    anna.session.current.value!.step("undo");
    anna.session.keepEdits(anna.session.current.value!);
    await idle(anna, ben);
  };
  await undo();
  anna.close();
  await anna.open();
  await undo();
  assert.deepEqual([anna.labels[1], service.labels("a.png")[1]], ["floor", "floor"]);
  // one of its name is another word
  lookFor(anna.session.settings, ["floor", "cat", "wall"]);
  await idle(anna, ben);
  assert.deepEqual(service.project.words.map(({ id, name, merged_into }) => [id, name, merged_into ?? null]), [[0, "floor", null], [1, "cat", null], [2, "wall", 0], [3, "wall", null]]);
});

test("what a closed page left of a word means the one that it was merged into meanwhile", async () => {
  const { service, anna, ben } = await street();
  service.fail("PUT", "/work", ...Array<Fate>(40).fill("lost"));
  anna.paint(1, "wall");
  await until(() => !anna.session.writer.pending.value && anna.store.waiting.value > 0);
  anna.close();
  service.fate = () => "answered";
  ben.paint(3, "wall");
  await idle(ben);
  await ben.session.merge(2, 1);
  await anna.open();
  await idle(anna, ben);
  assert.deepEqual([anna.labels, ben.labels], [service.labels("a.png"), service.labels("a.png")]);
  assert.deepEqual(anna.labels, ["floor", "cat", "floor", "cat", "floor", "floor"]);
});

test("a stroke for a removed image never comes into another one of its name, labeled or not", async () => {
  for (const isLabeled of [true, false]) {
    const service = new ProjectService("a.png");
    const anna = await Person.of(service);
    const ben = await Person.of(service);
    service.fail("PUT", "/work", ...Array<Fate>(isLabeled ? 0 : 40).fill("lost"));
    await anna.label(...WORDS);
    if (isLabeled) await idle(anna, ben);
    service.fail("PUT", "/work", ...Array<Fate>(40).fill("lost"));
    anna.paint(1, "cat");
    await until(() => anna.store.isAway.value);
    await ben.session.remove(ben.session.items.value[0]);
    await until(() => service.trash.size === 1);
    const { id } = service.added("a.png");
    service.fate = () => "answered";
    await until(() => anna.store.refused.value.length === 1);
    const [{ unsent, refused: reason }] = anna.store.refused.value;
    assert.ok(unsent.kind === "work");
    assert.deepEqual([unsent.image, unsent.state.image, service.states.get(id)!.revision, service.work.has(id)], ["a.png", "a.png", 0, false]);
    assert.match(reason!, /“a.png” was removed by somebody/);
  }
});

test("a page takes over what holds after older files were put back on the service", async () => {
  const { service, anna, ben } = await street();
  const before = service.backup();
  anna.paint(1, "cat");
  ben.paint(2, "wall");
  await idle(anna, ben);
  service.restore(before);
  await until(() => anna.labels[1] === "floor" && ben.labels[2] === "floor");
  anna.paint(3, "wall");
  await idle(anna, ben);
  const labels = ["floor", "floor", "floor", "wall", "floor", "floor"];
  assert.deepEqual([service.labels("a.png"), anna.labels, ben.labels], Array(3).fill(labels));
  // words that were merged since are apart again, also in an image that nobody changed
  const apart = service.backup();
  await ben.session.merge(2, 0);
  await until(() => anna.labels[3] === "floor");
  service.restore(apart);
  await until(() => `${anna.labels}` === `${labels}` && `${ben.labels}` === `${labels}`);
});
