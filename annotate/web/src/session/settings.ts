/** What the reader chose, apart from images: it is kept and restored as a whole. */

import { batch, computed, signal } from "@preact/signals";

import type { Context } from "../labels/labeling";
import type { Project, ProjectOptions } from "../project/structure";
import { entryOf, lookedFor, type Vocabulary, withLookedFor } from "../project/words";

/** Keys by what they do: what another key does without changes, or a word. */
export type ChangedKeys = Readonly<Record<string, string>>;

/** What becomes of unlikely pixels, as it is typed: the background by its name. */
type TypedRule = Pick<ProjectOptions, "threshold" | "background">;

export type Place = "browser" | "service";
export type Theme = "system" | "light" | "dark";

export function makeSettings() {
  const vocabulary = signal<Vocabulary>([]);
  return {
    /** The words that are looked for, and those that were removed, with their ids and colors. */
    vocabulary,
    /** Names of the words that are looked for. */
    words: computed(() => lookedFor(vocabulary.value).map(({ name }) => name)),
    parts: signal(""),
    rule: signal<TypedRule>({ threshold: 0, background: null }),
    /** Weight of the words' colors, in [0, 1]. */
    opacity: signal(0.5),
    hasNames: signal(true),
    keys: signal<ChangedKeys>({}),
    /** Radius of the brush [px of the image]. */
    radius: signal(12),
    /** Whether objects that are clicked leave pixels alone that a person drew or clicked. */
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

/** Look for exactly some words. @param others words that need an id, too. */
export function lookFor({ vocabulary }: Settings, words: readonly string[], others: readonly string[] = []): void {
  vocabulary.value = withLookedFor(vocabulary.peek(), words, others);
}

/** What labels come to now. */
export function contextOf({ vocabulary, rule }: Pick<Settings, "vocabulary" | "rule">): Context {
  const { threshold, background } = rule.value;
  const entry = background === null ? undefined : entryOf(vocabulary.value, background);
  return { vocabulary: vocabulary.value, rule: { threshold, background: entry?.id ?? null } };
}

export function projectOf({ vocabulary, parts, rule }: Settings): Pick<Project, "words" | "options"> {
  const { threshold, background } = rule.value;
  return { words: vocabulary.value, options: { parts: parts.value, threshold, background } };
}

export function useProject(settings: Settings, { words, options }: Pick<Project, "words" | "options">): void {
  batch(() => {
    settings.vocabulary.value = words;
    settings.parts.value = options.parts;
    settings.rule.value = { threshold: options.threshold, background: options.background };
  });
}

/** Set what was kept; what it doesn't have stays as it is. */
export function restore(settings: Settings, kept: unknown): void {
  const known = settings as unknown as Record<string, { value: unknown }>;
  for (const [name, value] of Object.entries(kept ?? {})) if (name in known && !OF_PROJECT.includes(name)) known[name].value = value;
}
