/** Applies changes of others to the session. */

import type { Signal } from "@preact/signals";

import { namedWork } from "../project/keeping";
import type { Choice, Conflict, Watcher } from "../project/structure";
import { Item } from "./item";
import type { Nearby } from "./open_image";
import type { Session } from "./session";
import { contextOf, useProject } from "./settings";

export interface AskedConflict {
  readonly conflict: Conflict;
  answer(choice: Choice): void;
}

export function watcherOf(session: Session, nearby: Nearby): Watcher {
  const { current, items, problem, removed, settings } = session;
  const itemOf = (id: string) => items.value.find((item) => item.id === id);
  return {
    context() {
      session.writer.flush();
      return contextOf(settings);
    },
    onProject(project) {
      session.name.value = project.name;
      nearby.clear();
      useProject(settings, project);
    },
    onAdded(entry) {
      const order = (items.value.at(-1)?.order ?? 0) + 1;
      removed.value = removed.value.filter(({ id }) => id !== entry.id);
      if (!itemOf(entry.id)) items.value = [...items.value, new Item({ ...entry, order }, session.store)];
    },
    onImproved() {
      session.improved.value++;
    },
    onRemoved(id) {
      const item = itemOf(id);
      if (!item) return;
      nearby.drop(item);
      items.value = items.value.filter((other) => other !== item);
      removed.value = [...removed.value, item];
      if (current.value?.item === item) session.show(null);
    },
    onState(id, state, isOther) {
      const item = itemOf(id);
      if (!item) return;
      item.summary.value = state;
      if (item.state.value.kind !== "running") item.showLabeled();
      if (isOther) nearby.drop(item);
    },
    onWork(id, work) {
      const item = itemOf(id);
      if (!item) return;
      nearby.drop(item);
      if (current.value?.item === item) current.value.adopt(namedWork(work, settings.vocabulary.value));
    },
    isBusy: (id) => current.value?.item.id === id && current.value.edits.isBegun,
    choose: (conflict) =>
      new Promise<Choice>((resolve) => {
        session.conflict.value = {
          conflict,
          answer(choice) {
            session.conflict.value = null;
            resolve(choice);
          },
        };
      }),
    onProblem: teller(problem),
  };
}

/** Tells problems that have one cause, once each; null: it is gone, and so is what was told of it. */
export function teller(problem: Signal<string | null>): (text: string | null) => void {
  let told: string | null = null;
  return (text) => {
    if (text === told) return;
    if (text !== null || problem.value === told) problem.value = text;
    told = text;
  };
}
