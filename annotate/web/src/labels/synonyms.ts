/** Synonyms: a class "sofa, couch" is looked for and shown as "sofa". */

/** White space around a name: what the service leaves away there. */
const AROUND = /^[\s\x1c-\x1f\x85]+|[\s\x1c-\x1f\x85]+$/g;

export function trimmed(name: string): string {
  return name.replace(AROUND, "");
}

export function names(word: string): string[] {
  return word.split(", ").map(trimmed);
}

/** The name that is looked for and shown. */
export function firstName(word: string): string {
  return names(word)[0];
}

/**
 * A name as it is compared, the same as `segvoc.vocabulary.folded` does: case, composed and decomposed letters, and white
 * space around it don't matter.
 */
export function folded(name: string): string {
  const letters = [...trimmed(name).normalize("NFC")];
  // the dotless i is a letter of its own; a browser's large ẞ has no other case
  return letters.map((letter) => (letter === "ı" ? letter : letter === "ẞ" ? "ss" : letter.toUpperCase().toLowerCase())).join("");
}

export function isSameName(one: string, other: string): boolean {
  return one === other || folded(one) === folded(other);
}

/** Whether two classes have a name in common. */
export function sameClass(one: string, other: string): boolean {
  if (one === other) return true;
  const all = names(other).map(folded);
  return names(one).some((name) => all.includes(folded(name)));
}

/** A class with another of its names first. */
export function promoted(word: string, name: string): string {
  return [name, ...names(word).filter((other) => other !== name)].join(", ");
}
