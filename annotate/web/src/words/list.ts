/** The list of words as it is typed, pasted and edited, and the parts of objects. */

import { MOST_WORDS } from "../imaging/palette";
import type { Word } from "../labels/labeling";
import { firstName, folded, names, trimmed } from "../labels/synonyms";
import { lookedFor, type Vocabulary } from "../project/words";

/**
 * The classes of a text.
 *
 * One line: words between commas, as on the command line. Several lines: a class each, in which commas separate synonyms,
 * as in a words file. A JSON list of strings is taken, too. An equals sign separates synonyms anywhere.
 */
export function splitWords(text: string): string[] {
  const isFile = /[\n\r]/.test(text.trim());
  return (jsonList(text) ?? text.split(isFile ? /[\n\r]+/ : ",")).map(normal).filter(Boolean);
}

/** The classes of a file: one in each line, or a JSON list; none if it has something else. */
export function wordsOfFile(name: string, text: string): string[] {
  return /\.json$/i.test(name) && !jsonList(text) ? [] : splitWords(text);
}

/** A class as back ends take it: its names, without the white space around them, separated by ", ". */
function normal(word: string): string {
  return word
    .normalize("NFC")
    .replace(/\p{Cc}/gu, " ")
    .split(/[,=]/)
    .map(trimmed)
    .filter(Boolean)
    .join(", ");
}

function jsonList(text: string): string[] | null {
  if (!text.trim().startsWith("[")) return null;
  try {
    const content: unknown = JSON.parse(text);
    return Array.isArray(content) && content.every((word) => typeof word === "string") ? content : null;
  } catch {
    return null;
  }
}

/** A list with more words, each once; and what the reader should know about those that were left out. */
export function withWords(
  words: readonly string[],
  added: readonly string[],
): { words: string[]; note: string | null } {
  const kept = [...words],
    known = new Set(words.map((word) => folded(firstName(word))));
  let note: string | null = null;
  for (const word of added) {
    const name = firstName(word);
    if (known.has(folded(name))) note = `“${name}” is already among the words.`;
    else if (kept.length === MOST_WORDS) note = `The page takes ${MOST_WORDS} words; the others were left out.`;
    else kept.push(word);
    known.add(folded(name));
  }
  return { words: kept, note };
}

/** The other class that is looked for and has a name already which is typed for a class; undefined: none. */
export function takenBy(vocabulary: Vocabulary, id: number, text: string): Word | undefined {
  const typedName = folded(firstName(normal(text)));
  return lookedFor(vocabulary).find((word) => word.id !== id && names(word.name).map(folded).includes(typedName));
}

/** The name that a text gives to a class; null: it is the one that it has, another class has it, or there is none. */
export function renamed(vocabulary: Vocabulary, id: number, text: string): string | null {
  const name = normal(text);
  const isSame = vocabulary.some((word) => word.id === id && word.name === name);
  return !name || isSame || takenBy(vocabulary, id, text) ? null : name;
}

export function typed(word: string): string {
  return names(word).join(" = ");
}

const EXAMPLE = "dog: head, leg; cat: head";

/** What is wrong with a text, as one sentence; null: nothing, or it is empty. */
export function partsProblem(text: string): string | null {
  if (!text.trim()) return null;
  const seen = new Set<string>();
  for (const clause of text.split(";")) {
    const [owner, ...lists] = clause.split(":").map((side) => side.trim());
    if (!clause.trim()) return "There is a semicolon too many; remove it.";
    if (!lists.length) return `“${clause.trim()}” has no colon; write an object, a colon and its parts: ${EXAMPLE}`;
    if (!owner) return `“${clause.trim()}” has no object before its colon; write whose parts these are.`;
    if (lists.length > 1) return `“${clause.trim()}” has two colons; put a semicolon between objects.`;
    if (seen.has(owner)) return `“${owner}” is there twice; name it once, with all of its parts.`;
    seen.add(owner);
    const parts = lists[0].split(",").map((part) => part.trim());
    if (parts.some((part) => !part)) return `A part of “${owner}” is empty; remove a comma, or write a name.`;
    const twice = parts.find((part, at) => parts.indexOf(part) < at);
    if (twice) return `“${twice}” of “${owner}” is there twice; name it once.`;
  }
  return null;
}

export interface TypedPart {
  /** "*": every word. */
  readonly object: string;
  readonly part: string;
}

export function partsOf(text: string): TypedPart[] {
  return text
    .split(";")
    .filter((clause) => clause.trim())
    .flatMap((clause) => {
      const [object, parts] = clause.split(":");
      return parts.split(",").map((part) => ({ object: object.trim(), part: part.trim() }));
    });
}

export function withoutPart(text: string, { object, part }: TypedPart): string {
  const objects = new Map<string, string[]>();
  for (const one of partsOf(text))
    if (one.object !== object || one.part !== part) objects.set(one.object, [...(objects.get(one.object) ?? []), one.part]);
  return [...objects].map(([owner, parts]) => `${owner}: ${parts.join(", ")}`).join("; ");
}

export function objectsOf(text: string): string[] {
  return [...new Set(partsOf(text).map(({ object }) => object))].filter((object) => object !== "*");
}
