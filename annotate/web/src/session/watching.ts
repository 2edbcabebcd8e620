/** Applies changes of others to the session. */

import { batch, type Signal } from "@preact/signals";

import type { Choice, Conflict, Watcher } from "../project/structure";
import { Item } from "./item";
import type { Nearby } from "./open_image";
import type { Session } from "./session";
import { contextOf, useProject } from "./settings";

export interface ConflictQuestion {
  readonly conflict: Conflict;
  answer(choice: Choice): void;
}

export function watcherOf(session: Session, nearby: Nearby): Watcher {
  const { current, items, problem, removed, settings } = session;
  let last: Promise<unknown> = Promise.resolve();
  const itemOf = (id: string) => items.value.find((item) => item.id === id);
  return {
    context() {
      session.writer.flush();
      return contextOf(settings);
    },
    onProject(project, moved) {
      session.name.value = project.name;
      batch(() => {
        useProject(settings, project);
        if (moved?.size) session.renumber(moved);
      });
    },
    onAdded(entry) {
      const order = (items.value.at(-1)?.order ?? 0) + 1;
      removed.value = removed.value.filter(({ id }) => id !== entry.id);
      if (!itemOf(entry.id)) items.value = [...items.value, new Item({ ...entry, order }, session.store)];
    },
    onImproved() {
      session.improved.value++;
    },
    onEmptied() {
      removed.value = [];
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
      if (item.attempt.value?.kind === "failed") item.attempt.value = null;
      if (isOther) nearby.drop(item);
    },
    onWork(id, work) {
      const item = itemOf(id);
      if (!item) return;
      nearby.drop(item);
      if (current.value?.item === item) current.value.adopt(work);
    },
    isBusy: (id) => current.value?.item.id === id && current.value.edits.isBegun,
    choose(conflict) {
      // one after the other
      const choice = last.then(
        () =>
          new Promise<Choice>((resolve) => {
            const answer = (given: Choice) => {
              session.conflict.value = null;
              resolve(given);
            };
            session.conflict.value = { conflict, answer };
          }),
      );
      last = choice;
      return choice;
    },
    onProblem: onceReporter(problem),
  };
}

/** Reports problems that have one cause, once each; null: it is gone, and so is what was reported of it. */
export function onceReporter(problem: Signal<string | null>): (text: string | null) => void {
  let reported: string | null = null;
  return (text) => {
    if (text === reported) return;
    if (text !== null || problem.value === reported) problem.value = text;
    reported = text;
  };
}
