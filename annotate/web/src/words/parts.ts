/** Parts of objects as they are typed: "dog: head, leg; *: tail". */

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

/** A part as it was typed. */
export interface TypedPart {
  /** "*": every word. */
  readonly object: string;
  readonly part: string;
}

/** The parts of a text without problems. */
export function partsOf(text: string): TypedPart[] {
  return text
    .split(";")
    .filter((clause) => clause.trim())
    .flatMap((clause) => {
      const [object, parts] = clause.split(":");
      return parts.split(",").map((part) => ({ object: object.trim(), part: part.trim() }));
    });
}

/** A text without problems, without one of its parts. */
export function withoutPart(text: string, { object, part }: TypedPart): string {
  const objects = new Map<string, string[]>();
  for (const one of partsOf(text))
    if (one.object !== object || one.part !== part) objects.set(one.object, [...(objects.get(one.object) ?? []), one.part]);
  return [...objects].map(([owner, parts]) => `${owner}: ${parts.join(", ")}`).join("; ");
}

/** The objects of a text without problems. */
export function objectsOf(text: string): string[] {
  return [...new Set(partsOf(text).map(({ object }) => object))].filter((object) => object !== "*");
}
