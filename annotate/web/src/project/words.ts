/** The words of a project: which id and color each has, now and after others came and went. */

import { type Color, MOST_WORDS, wordColor } from "../imaging/palette";
import type { WordEntry } from "../labels/labeling";
import { firstName, sameClass } from "../labels/synonyms";
import type { ProjectWord } from "./structure";

export type Vocabulary = readonly ProjectWord[];

/** The entry of a word by its name or one of its synonyms; of several, one that is looked for. */
export function entryOf(vocabulary: Vocabulary, word: string): ProjectWord | undefined {
  const rank = ({ name, removed }: ProjectWord) => (removed ? 1 : 0) + (name === word ? 0 : 2) + (firstName(name) === firstName(word) ? 0 : 4);
  const matching = vocabulary.filter(({ name }) => sameClass(name, word));
  return matching.reduce<ProjectWord | undefined>((best, one) => (best && rank(best) <= rank(one) ? best : one), undefined);
}

/** The entry whose first name is that of a word. */
function named(vocabulary: Vocabulary, word: string): ProjectWord | undefined {
  const matching = vocabulary.filter(({ name }) => firstName(name) === firstName(word));
  return matching.find(({ removed }) => !removed) ?? matching[0];
}

/**
 * The vocabulary in which exactly some words are looked for; a word that was there before gets its id and color back,
 * a new one those that no word ever had. The same object if nothing changes.
 *
 * @param words those that are looked for.
 * @param others that need an id, too, such as the background and objects that only parts name.
 */
export function withLookedFor(known: Vocabulary, words: readonly string[], others: readonly string[] = []): Vocabulary {
  const vocabulary = [...known];
  const looked = new Set<number>();
  for (const word of words) {
    const entry = named(vocabulary, word);
    const changed = { ...(entry ?? added(vocabulary)), name: word, removed: false };
    looked.add(changed.id);
    if (entry) vocabulary[vocabulary.indexOf(entry)] = changed;
    else vocabulary.push(changed);
  }
  for (const word of others) if (!entryOf(vocabulary, word)) vocabulary.push({ ...added(vocabulary), name: word });
  const next = vocabulary.map((entry) => ({ ...entry, removed: !looked.has(entry.id) }));
  return JSON.stringify(next) === JSON.stringify(known) ? known : next;
}

/** The vocabulary in which a word has another name, and the same id. */
export function withName(known: Vocabulary, word: string, name: string): Vocabulary {
  const entry = named(known, word);
  return known.map((one) => (one === entry ? { ...one, name } : one));
}

export function lookedFor(vocabulary: Vocabulary): string[] {
  return vocabulary.filter(({ removed }) => !removed).map(({ name }) => name);
}

/** The color of a word; that of the last word of all, if it isn't known. */
export function colorOf(vocabulary: Vocabulary, word: string): Color {
  return entryOf(vocabulary, word)?.color ?? wordColor(MOST_WORDS);
}

/** Finds the id and color of a word; one that came just now has those of no other, and gets its own at once. */
export function entryFor(vocabulary: Vocabulary): (word: string) => WordEntry {
  const unknown = { id: 1 + Math.max(-1, ...vocabulary.map(({ id }) => id)), color: wordColor(MOST_WORDS) };
  return (word) => entryOf(vocabulary, word) ?? unknown;
}

/** The color of each id; ids without a word are gray. */
export function colorsById(vocabulary: Vocabulary): Color[] {
  const colors = new Array<Color>(1 + Math.max(-1, ...vocabulary.map(({ id }) => id))).fill([128, 128, 128]);
  for (const { id, color } of vocabulary) colors[id] = color;
  return colors;
}

export function namesById(vocabulary: Vocabulary): ReadonlyMap<number, string> {
  return new Map(vocabulary.map(({ id, name }) => [id, name]));
}

function added(vocabulary: Vocabulary): ProjectWord {
  const id = 1 + Math.max(-1, ...vocabulary.map((entry) => entry.id));
  return { id, name: "", color: freeColor(vocabulary), removed: true };
}

/** The first color that no word ever had; once all were given away, that no word has that is looked for. */
function freeColor(vocabulary: Vocabulary): Color {
  const used = (words: Vocabulary) => new Set(words.map(({ color }) => color.join()));
  for (const taken of [used(vocabulary), used(vocabulary.filter(({ removed }) => !removed))])
    for (let place = 0; place <= MOST_WORDS; place++) if (!taken.has(wordColor(place).join())) return wordColor(place);
  return wordColor(MOST_WORDS);
}

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
