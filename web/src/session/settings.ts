/** What the reader chose, apart from images: it is kept and restored as a whole. */

import { signal } from "@preact/signals";

import type { Query } from "../backend";
import type { Rule } from "../labels/labeling";
import type { ColorPlaces } from "./word_colors";

export type Place = "browser" | "service";
export type Theme = "system" | "light" | "dark";

export function makeSettings() {
  return {
    words: signal<readonly string[]>([]),
    /** Of these words, and of those that were removed. */
    colors: signal<ColorPlaces>({}),
    synonyms: signal<Query["synonyms"]>("first"),
    /** Parts of objects, as they were typed. */
    parts: signal(""),
    rule: signal<Rule>({ threshold: 0, background: null }),
    /** Weight of the words' colors, in [0, 1]. */
    opacity: signal(0.5),
    /** Whether names are written in the regions. */
    hasNames: signal(true),
    /** Radius of the brush [px of the image]. */
    radius: signal(12),
    /** Where images are labeled. */
    place: signal<Place | null>(null),
    theme: signal<Theme>("system"),
  };
}

export type Settings = ReturnType<typeof makeSettings>;

/** The values of all settings. */
export function valuesOf(settings: Settings): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).map(([name, { value }]) => [name, value]));
}

/** Set what was kept; what it doesn't have stays as it is. */
export function restore(settings: Settings, kept: unknown): void {
  const known = settings as unknown as Record<string, { value: unknown }>;
  for (const [name, value] of Object.entries(kept ?? {})) if (name in known) known[name].value = value;
}
