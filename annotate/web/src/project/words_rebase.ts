/** The words of a project that two pages changed at the same time. */

import { lookedFor, withLookedFor, withName, type Vocabulary } from "./words";

/** What this page made of the words, on top of what others made of them. */
export function rebasedWords(base: Vocabulary, mine: Vocabulary, theirs: Vocabulary): Vocabulary {
  let words = theirs;
  for (const { id, name } of mine) {
    const before = base.find((word) => word.id === id),
      now = words.find((word) => word.id === id);
    if (before && now && before.name !== name && now.name === before.name) words = withName(words, now.name, name);
  }
  const [before, after] = [base, mine].map((all) => new Map(all.map((word) => [word.id, word])));
  const removed = new Set(base.filter(({ id, removed }) => !removed && after.get(id)?.removed).map(({ id }) => id));
  const back = new Set(mine.filter(({ id, removed }) => !removed && before.get(id)?.removed).map(({ id }) => id));
  const added = mine.filter(({ id }) => !before.has(id));
  const looked = words.filter(({ id, removed: isGone }) => back.has(id) || (!isGone && !removed.has(id)));
  const names = [...looked.map(({ name }) => name), ...lookedFor(added)];
  return withLookedFor(words, [...new Set(names)], added.map(({ name }) => name));
}

/** The ids that words of this page have instead of those that it gave them. */
export function movedIds(mine: Vocabulary, merged: Vocabulary): Map<number, number> {
  const moved = new Map<number, number>();
  for (const { id, name } of mine) {
    if (merged.some((word) => word.id === id && word.name === name)) continue;
    const other = merged.find((word) => word.name === name);
    if (other && other.id !== id) moved.set(id, other.id);
  }
  return moved;
}
