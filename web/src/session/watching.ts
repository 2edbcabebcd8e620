/** What becomes of changes that others make to the project. */

import type { Choice, Watcher } from "../project/store";
import { namedWork } from "../project/keeping";
import { Item } from "./item";
import type { Nearby } from "./nearby";
import type { Session } from "./session";
import { useProject } from "./settings";

export function watcherOf(session: Session, nearby: Nearby): Watcher {
  const { current, items, problem, removed, settings } = session;
  const itemOf = (id: string) => items.value.find((item) => item.id === id);
  /** The problem that the store told last. */
  let told: string | null = null;

  return {
    context: () => ({ vocabulary: settings.vocabulary.value, rule: settings.rule.value }),
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
    onProblem(text) {
      if (text !== null || problem.value === told) problem.value = text;
      told = text;
    },
  };
}
