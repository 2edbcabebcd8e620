/** The list of words as it is typed, pasted and edited. */

import { MOST_WORDS } from "../imaging/palette";
import { firstName, names } from "../labels/synonyms";

/**
 * The classes of a text.
 *
 * One line: words between commas, as on the command line. Several lines: a class each, in which commas separate synonyms,
 * as in a words file. A JSON list of strings is taken, too. An equals sign separates synonyms anywhere.
 */
export function splitWords(text: string): string[] {
  const list = jsonList(text);
  if (list) return list.map(normal).filter(Boolean);
  const isFile = /[\n\r]/.test(text.trim());
  return text
    .split(isFile ? /[\n\r]+/ : ",")
    .map(normal)
    .filter(Boolean);
}

/** The classes of a file: one in each line, or a JSON list; none if it has something else. */
export function wordsOfFile(name: string, text: string): string[] {
  if (/\.json$/i.test(name)) return jsonList(text)?.map(normal).filter(Boolean) ?? [];
  return splitWords(text);
}

/** A class as back ends take it: its names, without the white space around them, separated by ", ". */
function normal(word: string): string {
  return word
    .split(/[,=]/)
    .map((name) => name.trim())
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
    known = new Set(words.map(firstName));
  let note: string | null = null;
  for (const word of added) {
    const name = firstName(word);
    if (known.has(name)) note = `“${name}” is already among the words.`;
    else if (kept.length === MOST_WORDS) note = `The page takes ${MOST_WORDS} words; the others were left out.`;
    else kept.push(word);
    known.add(name);
  }
  return { words: kept, note };
}

/** A list in which one class has other names; unchanged if it then had a class twice, or one without a name. */
export function renamed(words: readonly string[], word: string, text: string): readonly string[] {
  const other = normal(text);
  const isTaken = words.some((one) => one !== word && firstName(one) === firstName(other));
  return other && !isTaken ? words.map((one) => (one === word ? other : one)) : words;
}

/** A class as it is typed: names between equals signs. */
export function typed(word: string): string {
  return names(word).join(" = ");
}
