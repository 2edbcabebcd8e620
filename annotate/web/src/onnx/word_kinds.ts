/** Kinds of words, as `segvoc.encoders.word_kinds`: "skier" is a person, "red onion" an onion. */

import { firstName, folded } from "../labels/synonyms";

/** What begins the rest of a phrase, after the noun that says what it is. */
const AFTER_NOUN = /\s(?:with|in|on|at|for|from|by|behind|near|under|made of)\s/;

const OF = /\sof\s(?:an?\s|the\s)?/;

/** Endings of plurals, and those of their singulars. */
const PLURALS = [["", ""], ["s", ""], ["es", ""], ["ies", "y"], ["ves", "f"], ["ves", "fe"]];

export class WordKinds {
  private readonly kinds = new Map<string, string>();

  /** Trained words, and other words for things of this kind. */
  constructor(byKind: Readonly<Record<string, readonly string[]>>) {
    for (const kind of Object.keys(byKind)) this.kinds.set(kind, kind);
    for (const [kind, others] of Object.entries(byKind)) for (const name of others) this.kinds.set(name, kind);
  }

  isTrained(word: string): boolean {
    const name = folded(word);
    return this.kinds.get(name) === name;
  }

  /** The word that a word is a kind of; undefined if there is none, or it is this word itself. */
  of(word: string): string | undefined {
    const name = folded(firstName(word));
    for (const noun of name.split(AFTER_NOUN)[0].split(OF)) {
      const parts = noun.split(/\s+/).filter(Boolean);
      for (const start of parts.keys()) {
        const kind = this.known(parts.slice(start).join(" "));
        if (kind !== undefined) return kind === name ? undefined : kind;
      }
    }
    return undefined;
  }

  private known(name: string): string | undefined {
    for (const [plural, ending] of PLURALS) {
      const kind = name.endsWith(plural) ? this.kinds.get(name.slice(0, name.length - plural.length) + ending) : undefined;
      if (kind !== undefined) return kind;
    }
    return undefined;
  }
}
