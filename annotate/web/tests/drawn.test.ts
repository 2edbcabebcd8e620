/** What people do, drawn by seeds: two projects at one address, and three people with a tab for each of them. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { pause } from "../src/project/connection";
import { mergedIds } from "../src/project/words";
import { lookFor } from "../src/session/settings";
import { seeded } from "./labeled";
import { idle, people, Person, ProjectService, until } from "./project_service";

const WORDS = ["floor", "cat", "wall", "lamp", "door"];

afterEach(() => people.splice(0).forEach((person) => person.close()));

/** A project, its tabs, and the word that each pixel should have, of which a person has two. */
interface Place {
  readonly service: ProjectService;
  readonly tabs: readonly Person[];
  readonly words: (number | string)[];
}

async function place(name: string): Promise<Place> {
  const service = new ProjectService("a.png");
  service.project = { ...service.project, name };
  const first = await Person.of(service);
  await first.label(...WORDS);
  await idle(first);
  const tabs = [first, await Person.of(service), await Person.of(service)];
  await idle(...tabs);
  return { service, tabs, words: Array(6).fill(0) };
}

/** A word by its id if it was there from the start, or by its name, which nobody changes: its id may move. */
function note({ tabs, words }: Place, person: number): void {
  const labeling = tabs[person].session.current.value?.labeling.value;
  if (!labeling) return;
  // nobody else paints there
  for (const pixel of [2 * person, 2 * person + 1]) {
    const { id, name } = labeling.word(labeling.labels[pixel]);
    words[pixel] = id < WORDS.length ? id : name;
  }
}

/** The ids of words in the end. */
function idsOf({ service }: Place, words: readonly (number | string)[]): number[] {
  const merged = mergedIds(service.project.words);
  return words.map((word) => {
    const id = typeof word === "number" ? word : service.project.words.find(({ name }) => name === word)!.id;
    return merged.get(id) ?? id;
  });
}

async function drawn(seed: number, actions: number): Promise<void> {
  const random = seeded(seed);
  const places = [await place("street"), await place("kitchen")];
  let served = 0;
  const serve = (number: number) => {
    served = number;
    for (const { service } of places) service.answersFor(places[number].service);
  };
  serve(0);
  const backups = places.map(() => null as null | { back: () => void; words: (number | string)[] });
  for (let number = 0; number < actions; number++) {
    const at = random(2),
      who = random(3);
    const { service, tabs, words } = places[at];
    const tab = tabs[who],
      { session } = tab;
    const isHere = served === at && !tab.store.isAway.value;
    const present = session.settings.vocabulary.value.filter(({ removed }) => !removed);
    const written = () => until(() => !session.writer.pending.value, "it is written");
    const all = () => idle(...tabs);
    switch (random(12)) {
      default:
        if (session.canCorrect.value) tab.paint(2 * who + random(2), present[random(present.length)].name);
        note(places[at], who);
        break;
      case 0:
        if (!session.canCorrect.value) break;
        session.current.value!.step(random(2) ? "undo" : "redo");
        session.keepEdits(session.current.value!);
        note(places[at], who);
        break;
      case 1:
        serve(random(2));
        break;
      case 2:
        service.fail("PUT", "", ...Array(random(4)).fill(random(2) ? "lost" : "unanswered"));
        break;
      case 3:
        if (!isHere || present.length < 3) break;
        await all();
        await session.merge(present[1].id, present[0].id);
        break;
      case 4:
        session.rename(random(WORDS.length), `word ${number}`);
        break;
      case 5:
        lookFor(session.settings, [...session.settings.words.value, `new ${seed} ${at} ${who} ${number}`]);
        break;
      case 6:
        if (served !== at) break;
        await written();
        if (random(2)) tab.kill();
        else tab.close();
        await tab.open();
        break;
      case 7:
        if (!isHere || !session.items.value.length) break;
        await all();
        await session.remove(session.items.value[0]);
        await all();
        await session.putBack();
        await until(() => tabs.every((one) => one.session.items.value.length === 1), "it is back");
        await all();
        for (const one of tabs) await one.session.open(one.session.items.value[0]);
        break;
      case 8:
        if (served !== at) break;
        await all();
        // older files come back, and what was done since is gone with them
        if (backups[at]) {
          service.restore(backups[at].back);
          words.splice(0, 6, ...backups[at].words);
          backups[at] = null;
          await all();
          for (const { session: other } of tabs) {
            const shown = () => Array.from(other.current.value!.labeling.value!.labels, (id) => mergedIds(service.project.words).get(id) ?? id);
            await until(() => `${shown()}` === `${idsOf(places[at], words)}`, "what holds is shown");
          }
        } else backups[at] = { back: service.backup(), words: [...words] };
        break;
    }
    await pause(random(3) * 30);
  }
  for (const [number, one] of places.entries()) {
    serve(number);
    await idle(...one.tabs);
    assert.deepEqual(one.tabs.flatMap(({ store }) => store.refused.value), []);
    const names = idsOf(one, one.words).map((id) => one.service.project.words.find((word) => word.id === id)!.name);
    assert.deepEqual(one.service.labels("a.png"), names, `seed ${seed}, ${one.service.project.name}`);
  }
}

test("300 actions in two projects at one address lose no stroke and mix nothing, drawn by seeds", async () => {
  // most of the time they wait
  await Promise.all(Array.from({ length: 3 }, (_, seed) => drawn(seed + 1, 300)));
});
