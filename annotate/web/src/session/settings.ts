/** What the reader chose, apart from images: it is kept and restored as a whole. */

import { batch, signal } from "@preact/signals";

import type { Rule } from "../labels/labeling";
import type { Context } from "../project/keeping";
import type { Project } from "../project/structure";
import { lookedFor, type Vocabulary } from "../project/words";

/** Keys by what they do: what another key does without changes, or a word. */
export type ChangedKeys = Readonly<Record<string, string>>;
export interface Merged {
  readonly word: number;
  readonly into: number;
}

export type Place = "browser" | "service";
export type Theme = "system" | "light" | "dark";

export function makeSettings() {
  return {
    words: signal<readonly string[]>([]),
    /** These words, and those that were removed, with their ids and colors. */
    vocabulary: signal<Vocabulary>([]),
    parts: signal(""),
    rule: signal<Rule>({ threshold: 0, background: null }),
    /** Weight of the words' colors, in [0, 1]. */
    opacity: signal(0.5),
    hasNames: signal(true),
    keys: signal<ChangedKeys>({}),
    /** The merge that can be taken back; null: there is none. */
    merged: signal<Merged | null>(null),
    /** Radius of the brush [px of the image]. */
    radius: signal(12),
    /** Whether objects that are clicked leave pixels alone that a person decided. */
    keepsCorrected: signal(true),
    place: signal<Place | null>(null),
    theme: signal<Theme>("system"),
  };
}

export type Settings = ReturnType<typeof makeSettings>;

/** Settings that belong to the project, and are kept with it. */
const OF_PROJECT: readonly string[] = ["words", "vocabulary", "parts", "rule"] satisfies (keyof Settings)[];

export function valuesOf(settings: Settings): Record<string, unknown> {
  const own = Object.entries(settings).filter(([name]) => !OF_PROJECT.includes(name));
  return Object.fromEntries(own.map(([name, { value }]) => [name, value]));
}

export function contextOf({ vocabulary, rule }: Settings): Context {
  return { vocabulary: vocabulary.value, rule: rule.value };
}

export function projectOf({ vocabulary, parts, rule }: Settings): Pick<Project, "words" | "options"> {
  const { threshold, background } = rule.value;
  return { words: vocabulary.value, options: { parts: parts.value, threshold, background } };
}

export function useProject(settings: Settings, { words, options }: Pick<Project, "words" | "options">): void {
  batch(() => {
    settings.vocabulary.value = words;
    settings.words.value = lookedFor(words);
    settings.parts.value = options.parts;
    settings.rule.value = { threshold: options.threshold, background: options.background };
  });
}

/** Set what was kept; what it doesn't have stays as it is. */
export function restore(settings: Settings, kept: unknown): void {
  const known = settings as unknown as Record<string, { value: unknown }>;
  for (const [name, value] of Object.entries(kept ?? {})) if (name in known) known[name].value = value;
}
