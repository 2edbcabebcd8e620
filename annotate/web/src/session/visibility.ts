/** Which words are shown: all but the hidden ones, or one alone. */

import { firstName } from "../labels/synonyms";
import type { Session } from "./session";

/** For each word, whether it is shown. */
export function visibleWords({ hidden, alone }: Session, words: readonly string[]): boolean[] {
  const names = words.map(firstName);
  const only = names.includes(alone.value!) ? alone.value : null;
  return names.map((name) => (only === null ? !hidden.value.has(name) : name === only));
}

/** Show a word alone, or all again. */
export function isolate(session: Session, name: string): void {
  session.alone.value = session.alone.value === name ? null : name;
}

/** Hide a word, or show it again. */
export function toggle({ hidden, alone }: Session, name: string): void {
  const changed = new Set(hidden.value);
  if (!changed.delete(name)) changed.add(name);
  hidden.value = changed;
  alone.value = null;
}
