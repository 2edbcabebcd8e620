/** Synonyms: a class "sofa, couch" is looked for and shown as "sofa". */

export function names(word: string): string[] {
  return word.split(", ").map((name) => name.trim());
}

/** The name that is looked for and shown. */
export function firstName(word: string): string {
  return names(word)[0];
}

/** Whether two spellings of a class have a name in common. */
export function sameClass(one: string, other: string): boolean {
  if (one === other) return true;
  const all = names(other);
  return names(one).some((name) => all.includes(name));
}

/** A class with another of its names first. */
export function promoted(word: string, name: string): string {
  return [name, ...names(word).filter((other) => other !== name)].join(", ");
}
