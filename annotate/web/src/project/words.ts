/** The words of a project: which id and color each has, now and after others came and went. */

import { type Color, MOST_WORDS, wordColor } from "../imaging/palette";
import type { Word } from "../labels/labeling";
import { firstName, folded, isSameName, sameClass } from "../labels/synonyms";

export type Vocabulary = readonly Word[];

function isMerged({ merged_into }: Word): boolean {
  return (merged_into ?? null) !== null;
}

/** The id of the word that each merged word went into, by its own. */
export function mergedIds(vocabulary: Vocabulary): Map<number, number> {
  const into = new Map(vocabulary.filter(isMerged).map(({ id, merged_into }) => [id, merged_into!]));
  const last = (id: number): number => (into.has(id) ? last(into.get(id)!) : id);
  return new Map([...into.keys()].map((id) => [id, last(id)]));
}

/** The entry of a word by its name or one of its synonyms; of several, one that is looked for. */
export function entryOf(vocabulary: Vocabulary, word: string): Word | undefined {
  const rank = ({ name, removed }: Word) => (removed ? 1 : 0) + (name === word ? 0 : 2) + (isFirst(name, word) ? 0 : 4);
  const matching = vocabulary.filter((one) => sameClass(one.name, word) && !isMerged(one));
  return matching.reduce<Word | undefined>((best, one) => (best && rank(best) <= rank(one) ? best : one), undefined);
}

/** The entry whose first name is that of a word. */
function named(vocabulary: Vocabulary, word: string): Word | undefined {
  const matching = vocabulary.filter((one) => isFirst(one.name, word) && !isMerged(one));
  return matching.find(({ removed }) => !removed) ?? matching[0];
}

function isFirst(one: string, other: string): boolean {
  return isSameName(firstName(one), firstName(other));
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

/** The vocabulary in which a word is changed, and keeps its id. */
export function withWord(known: Vocabulary, id: number, change: Partial<Omit<Word, "id">>): Vocabulary {
  return known.map((word) => (word.id === id ? { ...word, ...change } : word));
}

export function lookedFor(vocabulary: Vocabulary): Word[] {
  return vocabulary.filter(({ removed }) => !removed);
}

/** The color of each id; ids without a word are gray. */
export function colorsById(vocabulary: Vocabulary): Color[] {
  const colors = new Array<Color>(nextId(vocabulary)).fill([128, 128, 128]);
  for (const { id, color } of vocabulary) colors[id] = color;
  return colors;
}

function nextId(vocabulary: Vocabulary): number {
  return vocabulary.reduce((next, { id }) => Math.max(next, id + 1), 0);
}

function added(vocabulary: Vocabulary): Word {
  return { id: nextId(vocabulary), name: "", color: freeColor(vocabulary), removed: true };
}

/** The first color that no word ever had; once all were given away, that no word has that is looked for. */
function freeColor(vocabulary: Vocabulary): Color {
  const used = (words: Vocabulary) => new Set(words.map(({ color }) => color.join()));
  for (const taken of [used(vocabulary), used(lookedFor(vocabulary))])
    for (let place = 0; place <= MOST_WORDS; place++) if (!taken.has(wordColor(place).join())) return wordColor(place);
  return wordColor(MOST_WORDS);
}

export interface RebasedWords {
  readonly words: Vocabulary;
  /** The ids that this page's new words have now instead of those that it gave them. */
  readonly moved: ReadonlyMap<number, number>;
  /** Words whose new names other words have by now: they keep their names. */
  readonly notRenamed: readonly { readonly from: string; readonly to: string }[];
}

/** What this page made of the words, on top of what others made of them. A word that both added is one word. */
export function rebasedWords(base: Vocabulary, mine: Vocabulary, theirs: Vocabulary): RebasedWords {
  const moved = new Map<number, number>();
  const notRenamed: { from: string; to: string }[] = [];
  let words = theirs;
  for (const { id, name, removed } of mine) {
    const before = base.find((word) => word.id === id),
      now = before && words.find((word) => word.id === id);
    if (now && isMerged(now)) continue;
    if (before && now) {
      // a name that another word has by now would be refused
      const isTaken = words.some((word) => word.id !== id && !word.removed && folded(word.name) === folded(name));
      const isRenamed = before.name !== name && now.name === before.name && !isTaken;
      if (before.name !== name && now.name === before.name && isTaken) notRenamed.push({ from: now.name, to: name });
      const isChanged = before.removed !== removed && (removed || !isTaken);
      words = withWord(words, id, { name: isRenamed ? name : now.name, removed: isChanged ? removed : now.removed });
      continue;
    }
    const same = named(words, name);
    const other = same ?? { ...added(words), name };
    if (other.id !== id) moved.set(id, other.id);
    if (!same) words = [...words, { ...other, removed }];
    else if (!removed) words = withWord(words, same.id, { removed });
  }
  return { words, moved, notRenamed };
}
