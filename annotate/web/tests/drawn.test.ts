/** What people do, drawn by seeds: two projects at one address, and three people with two tabs each in each of them. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { folded } from "../src/labels/synonyms";
import { pause } from "../src/project/connection";
import { mergedIds } from "../src/project/words";
import type { Item } from "../src/session/item";
import { lookFor } from "../src/session/settings";
import { withWords } from "../src/words/list";
import { seeded } from "./labeled";
import { idle, people, Person, ProjectService, until } from "./project_service";

/** SEGVOC_DRAWN_SEEDS=10 draws more. */
const SEEDS = Number(process.env["SEGVOC_DRAWN_SEEDS"] ?? 3);

const WORDS = ["floor", "cat", "wall", "lamp", "door"];

/** One word each, which several people may add. */
const SAME = ["roof", " Roof", "ROOF", "caf\u00e9", "Cafe\u0301"];

const TABS = 6;

const ANSWER = {
  ...{ labels: new Uint16Array(TABS), confidence: new Uint8Array(TABS).fill(200), words: WORDS },
  ...{ parts: null, model: "tiny", dtype: "", seconds: 0 },
};

afterEach(() => people.splice(0).forEach((person) => person.close()));

/** A word by its id if it was there from the start, or by its name, which nobody changes: its id may move. */
type Named = number | string;

/** A project and its tabs, of which two that follow each other have one browser. */
interface Place {
  readonly service: ProjectService;
  readonly tabs: readonly Person[];
  /** Of each tab, what its pixel may have: one word, and those that were painted since the page last said that all is saved. */
  words: Named[][];
  /** Whether each tab's own image is done. */
  done: boolean[];
}

async function place(name: string): Promise<Place> {
  const service = new ProjectService("a.png", ...Array.from({ length: TABS }, (_, tab) => `own-${tab}.png`));
  service.project = { ...service.project, name };
  const tabs = [await Person.of(service)];
  await tabs[0].label(...WORDS);
  await idle(...tabs);
  while (tabs.length < TABS) tabs.push(await Person.of(service, "administer", tabs.length % 2 ? tabs.at(-1)!.database : undefined));
  await idle(...tabs);
  return { service, tabs, words: tabs.map(() => [0]), done: tabs.map(() => false) };
}

/** Opens an image in a tab, however often that fails. */
async function show({ session }: Person, id: string): Promise<Item> {
  const item = session.items.value.find((one) => one.id === id)!;
  while (session.current.value?.item !== item) await session.open(item);
  return item;
}

/** The words that a tab shows; none if it shows another image. */
function shown({ session }: Person): Named[] {
  const image = session.current.value,
    labeling = image?.item.id === "a.png" && image.labeling.value;
  if (!labeling) return [];
  return Array.from(labeling.labels, (label) => labeling.word(label)).map(({ id, name }) => (id < WORDS.length ? id : folded(name)));
}

/** The ids of words in the end. */
function idsOf({ service }: Place, words: readonly Named[]): number[] {
  const merged = mergedIds(service.project.words);
  return words.map((word) => {
    const id = typeof word === "number" ? word : service.project.words.find(({ name }) => folded(name) === word)!.id;
    return merged.get(id) ?? id;
  });
}

/** Waits until the service has everything, and all tabs show it; what was refused is tried again. */
function settled({ tabs }: Place, what = "everything is sent and shown"): Promise<void> {
  return until(() => {
    for (const { session, store } of tabs) {
      session.conflict.value?.answer("both");
      for (const refusal of store.refused.value) store.retry(refusal);
    }
    return tabs.every(({ isIdle, store }) => isIdle && !store.refused.value.length);
  }, what);
}

/** The service has what everybody did. */
function check(here: Place, told: string): void {
  const { done, service, words } = here;
  const names = idsOf(here, words.map((all) => all.at(-1)!)).map((id) => service.project.words.find((word) => word.id === id)!.name);
  assert.deepEqual(service.labels("a.png"), names, told);
  assert.deepEqual(done.map((_, tab) => service.states.get(`own-${tab}.png`)!.done), done, told);
}

async function drawn(seed: number, actions: number): Promise<number> {
  const random = seeded(seed),
    dice = seeded(104729 * seed);
  const places = [await place("street"), await place("kitchen")];
  let served = 0,
    kills = 0;
  const serve = (number: number) => {
    served = number;
    for (const { service } of places) service.answersFor(places[number].service);
  };
  serve(0);
  for (const { service } of places) service.fate = () => (dice(100) < 8 ? (dice(2) ? "lost" : "unanswered") : "answered");
  const backups = places.map(() => null as null | { back: () => void; words: Named[][]; done: boolean[] });
  for (let number = 0; number < actions; number++) {
    const at = random(2),
      who = random(TABS),
      here = places[at];
    const { service, tabs } = here,
      tab = tabs[who],
      { session } = tab;
    const present = session.settings.vocabulary.value.filter(({ removed }) => !removed);
    const told = `seed ${seed}, action ${number}`;
    const before = shown(tab);
    // what can be undone is that of both tabs of a browser
    const note = () => shown(tab).forEach((now, pixel) => now !== before[pixel] && here.words[pixel].push(now));
    if (!session.writer.pending.value) here.words[who] = here.words[who].slice(-1);
    switch (random(13)) {
      default:
        if (!before.length || !session.canCorrect.value) break;
        tab.paint(who, present[random(present.length)].name);
        note();
        break;
      case 0:
        if (!before.length || !session.canCorrect.value) break;
        session.current.value!.step(random(2) ? "undo" : "redo");
        session.keepEdits(session.current.value!);
        note();
        break;
      case 1:
        serve(random(2));
        break;
      case 2:
        service.fail("PUT", random(2) ? "/work/a.png" : "", ...Array(random(4)).fill((["lost", "unanswered", "refused"] as const)[random(3)]));
        break;
      case 3:
        if (served !== at || present.length < 3) break;
        await settled(here, told);
        await session.merge(present[1].id, present[0].id).catch(() => {});
        break;
      case 4:
        session.rename(random(WORDS.length), `word ${number}`);
        break;
      case 5: {
        const word = random(2) ? SAME[random(SAME.length)].trim() : `new ${seed} ${at} ${who} ${number}`;
        lookFor(session.settings, withWords(session.settings.words.value, [word]).words);
        break;
      }
      case 6: {
        if (served !== at) break;
        // a tab, or all of a browser, at once, or once everything is written
        const gone = random(2) ? [who] : [who, who ^ 1];
        if (random(2)) await until(() => gone.every((one) => !tabs[one].session.writer.pending.value), told);
        for (const one of gone) if (!tabs[one].session.writer.pending.value) here.words[one] = here.words[one].slice(-1);
        for (const one of gone) tabs[one].kill();
        kills += gone.length;
        for (const one of gone) {
          while (!(await tabs[one].open().then(() => true, () => false)));
          await show(tabs[one], "a.png");
          // the first has what both left, which the second is to go on from
          await settled({ ...here, tabs: [tabs[one]] }, told);
        }
        for (const one of gone) {
          await settled({ ...here, tabs: [tabs[one]] }, told);
          const now = shown(tabs[one])[one];
          assert.ok(idsOf(here, here.words[one]).includes(idsOf(here, [now])[0]), `${told}: pixel ${one} is ${now}, not ${here.words[one]}`);
          here.words[one] = [now];
        }
        break;
      }
      case 7:
        if (served !== at) break;
        await settled(here, told);
        await session.remove(session.items.value.find(({ id }) => id === "a.png")!);
        await settled(here, told);
        await session.putBack();
        await until(() => tabs.every((one) => one.session.items.value.length === TABS + 1), "it is back");
        await settled(here, told);
        for (const one of tabs) await show(one, "a.png");
        break;
      case 8:
        if (served !== at) break;
        await settled(here, told);
        here.words = here.words.map((words) => words.slice(-1));
        check(here, told);
        // older files come back, and what was done since is gone with them
        if (backups[at]) {
          service.restore(backups[at].back);
          Object.assign(here, { words: backups[at].words, done: backups[at].done });
          backups[at] = null;
          const isShown = () => tabs.every((_, one) => `${idsOf(here, [shown(tabs[one])[one]])}` === `${idsOf(here, here.words[one])}`);
          await until(() => tabs.every(({ isIdle }) => isIdle) && isShown(), "what holds is shown");
        } else backups[at] = { back: service.backup(), words: here.words.map((words) => [...words]), done: [...here.done] };
        break;
      case 9: {
        if (served !== at) break;
        const item = await show(tab, `own-${who}.png`);
        if (!session.isLabeled.value) await session.take(item, { ...item.summary.value, ...ANSWER, quality: null, words: session.settings.words.value.slice(0, 1) }, "question");
        assert.equal(item.isDone.value, here.done[who], told);
        if (here.done[who]) session.reopen();
        else void session.finish();
        here.done[who] = !here.done[who];
        await until(() => !session.writer.pending.value, told);
        await show(tab, "a.png");
        break;
      }
    }
    await pause(random(3) * 30);
  }
  for (const [number, one] of places.entries()) {
    serve(number);
    one.service.fate = () => "answered";
    await settled(one, `seed ${seed} has ended`);
    check(one, `seed ${seed}, ${one.service.project.name}`);
    const folds = one.service.project.words.filter(({ merged_into }) => merged_into === undefined).map(({ name }) => folded(name));
    assert.equal(new Set(folds).size, folds.length, "no word is there twice");
  }
  return kills;
}

test("200 actions in two projects at one address lose nothing and mix nothing, drawn by seeds", async () => {
  // most of the time they wait
  const kills = await Promise.all(Array.from({ length: SEEDS }, (_, seed) => drawn(seed + 1, 200)));
  assert.ok(kills.reduce((sum, count) => sum + count) >= 5 * SEEDS, `${kills} kills`);
});
