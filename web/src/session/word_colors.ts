/** Colors that words keep while others come and go. */

import { MOST_WORDS, wordColor, type Color } from "../imaging/palette";
import { firstName } from "../labels/synonyms";

/** Places in the palette by the first names of words. */
export type ColorPlaces = Readonly<Record<string, number>>;

/**
 * Give words without a color one that no word ever had; the same object if there are none. Once all colors were given
 * away, those of words that aren't among these are free again.
 */
export function withColors(known: ColorPlaces, words: readonly string[]): ColorPlaces {
  const names = words.map(firstName);
  const missing = names.filter((name) => !Object.hasOwn(known, name));
  if (!missing.length) return known;
  const isFull = Object.keys(known).length + missing.length > MOST_WORDS + 1;
  const places = new Map(Object.entries(known).filter(([name]) => !isFull || names.includes(name)));
  const taken = new Set(places.values());
  let place = 0;
  for (const name of missing) {
    while (taken.has(place)) place++;
    taken.add(place);
    places.set(name, place);
  }
  return Object.fromEntries(places);
}

export function colorOf(places: ColorPlaces, word: string): Color {
  const name = firstName(word);
  return wordColor(Object.hasOwn(places, name) ? places[name] : MOST_WORDS);
}
