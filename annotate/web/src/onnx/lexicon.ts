/** What words mean, as `segvoc.lexicon` says: what a word is a kind of and a part of, and whether it names a surface. */

import { folded } from "../labels/synonyms";

/** What begins the rest of a phrase, after the noun that says what it is. */
const AFTER_NOUN = /\s(?:with|in|on|at|for|from|by|behind|near|under|made of)\s/;

const OF = /\sof\s(?:an?\s|the\s)?/;

/** In "dog's head" the owner comes first. */
const POSSESSIVE = /['\u2019]s?\s/;

/** Endings of plurals, and those of their singulars. */
const PLURALS = [["", ""], ["s", ""], ["es", ""], ["ies", "y"], ["ves", "f"], ["ves", "fe"]];

/** What COCO's class names end in. */
const QUALIFIERS = ["merged", "other", "stuff"];

/** The basic color terms of English, in the order of their numbers. */
export const COLORS = ["black", "gray", "white", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink"];

const OTHER_COLORS: Readonly<Record<string, string>> = { grey: "gray", silver: "gray" };

/** The words of a lexicon, as `segvoc.json` has them. */
export interface WordLists {
  readonly kinds: Readonly<Record<string, readonly string[]>>;
  readonly wholes: readonly Readonly<Record<"parts" | "worn" | "other_names", readonly string[]> & { name: string }>[];
  readonly surfaces: readonly string[];
  readonly compounds: readonly string[];
  readonly portions: readonly string[];
  readonly has_trained_words: boolean;
}

export interface WordFacts {
  readonly isTrained: boolean;
  /** The trained word that it is a kind of; null if there is none, or it is this word itself. */
  readonly kind: string | null;
  readonly whole: string | null;
  readonly isSurface: boolean;
  /** The one of `COLORS` that a phrase says of its kind; null for people, whose pixels have other colors. */
  readonly color: string | null;
}

type Table = ReadonlyMap<string, string>;

export class Lexicon {
  private readonly kinds: Table;
  private readonly parts: Table;
  private readonly worn: Table;
  private readonly surfaces: Table;
  private readonly portions: Table;

  constructor(readonly lists: WordLists) {
    const names = Object.entries(lists.kinds), all = (some: readonly string[], entry: string) => some.map((one) => [one, entry] as const);
    this.kinds = new Map([...names.map(([kind]) => [kind, kind] as const), ...names.flatMap(([kind, some]) => all(some, kind))]);
    this.parts = new Map(lists.wholes.flatMap(({ name, parts }) => all(parts, name)));
    this.worn = new Map(lists.wholes.flatMap(({ name, worn }) => all(worn, name)));
    this.surfaces = new Map(all(lists.surfaces, ""));
    this.portions = new Map(all(lists.portions, ""));
  }

  of(word: string): WordFacts {
    const name = folded(word), { kinds, compounds, surfaces, has_trained_words: isKnown } = this.lists;
    if (compounds.includes(name)) return { isTrained: false, kind: null, whole: null, isSurface: false, color: null };
    const [head, owner] = this.head(name);
    const [longest, kind] = this.longest(head, this.kinds) ?? ["", null];
    const surface = this.longest(plain(head), this.surfaces);
    return {
      isTrained: isKnown && Object.hasOwn(kinds, name),
      kind: isKnown && kind !== name ? kind : null,
      whole: this.whole(head, owner, kind),
      // the longer match says what it is: "street sign" is no street
      isSurface: (surface !== null && surface[0].length >= longest.length) || (kind !== null && surfaces.includes(kind)),
      color: isKnown && kind !== null && kind !== "person" ? colorOf(head, longest) : null,
    };
  }

  /** The trained word that a word is a kind of, or the folded word itself. */
  kindOf(word: string): string {
    return this.of(word).kind ?? folded(word);
  }

  /** The phrase that ends with the head noun, and what owns it, or "". */
  private head(name: string): [string, string] {
    const nouns = name.split(AFTER_NOUN)[0].split(OF);
    while (nouns.length > 1 && this.longest(nouns[0], this.portions)) nouns.shift();
    const owners = nouns[0].split(POSSESSIVE), head = owners.pop()!;
    return [head, owners.pop() ?? nouns[1] ?? ""];
  }

  /** What a thing belongs to; parts of another thing that the lexicon knows belong to that. */
  private whole(head: string, owner: string, kind: string | null): string | null {
    if (this.lists.wholes.some(({ name }) => name === kind)) return null;
    const worn = this.longest(head, this.worn), part = this.longest(head, this.parts);
    const isWorn = worn !== null && (!part || worn[0].length > part[0].length);
    const found = isWorn ? worn : part;
    if (!found) return null;
    const before = owner || (isWorn ? "" : head.slice(0, head.length - found[0].length).trim());
    const other = before ? this.longest(before, this.kinds) : null;
    return other && other[1] !== found[1] ? null : found[1];
  }

  /** The longest end of a phrase that is in a table, in singular or plural, with its entry; null for compounds. */
  private longest(phrase: string, table: Table): [string, string] | null {
    const parts = phrase.split(/\s+/).filter(Boolean);
    for (const start of parts.keys()) {
      const end = parts.slice(start).join(" "), names = singulars(end);
      const found = names.find((name) => table.has(name));
      if (found !== undefined) return [end, table.get(found)!];
      if (names.some((name) => this.lists.compounds.includes(name))) return null;
    }
    return null;
  }
}

/** The color that a phrase says of its noun; none if there are two, as in "black and white cat". */
function colorOf(head: string, noun: string): string | null {
  const words = head.split(/\s+/).filter(Boolean), before = words.slice(0, words.length - noun.split(/\s+/).length);
  const colors = new Set(before.map((word) => OTHER_COLORS[word] ?? word).filter((word) => COLORS.includes(word)));
  return colors.size === 1 ? [...colors][0] : null;
}

/** A name without hyphens and without what ends names of COCO's classes. */
function plain(name: string): string {
  const parts = name.split(/[\s_-]+/).filter(Boolean);
  while (parts.length > 1 && QUALIFIERS.includes(parts[parts.length - 1])) parts.pop();
  return parts.join(" ");
}

function singulars(name: string): string[] {
  const some = PLURALS.filter(([plural]) => name.endsWith(plural));
  return some.map(([plural, ending]) => name.slice(0, name.length - plural.length) + ending);
}
