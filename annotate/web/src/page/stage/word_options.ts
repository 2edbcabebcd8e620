/** What pixels can be given, as a list to choose from. */

import type { Choice } from "../../labels/edits";
import { firstName, names } from "../../labels/synonyms";
import type { Settings } from "../../session/settings";
import { colorOf } from "../../project/words";
import type { Option } from "../word_list";

/** Keys of what isn't a word; no word begins with a space. */
const NOTHING = " nothing",
  FOUND = " found";

/** @param has the word that the pixels have, which isn't offered; null: none. */
export function optionsOf({ words, vocabulary }: Settings, has: string | null, hasNone = false): Option[] {
  const options: Option[] = words.value
    .filter((word) => firstName(word) !== has)
    .map((word) => ({
      key: firstName(word),
      text: firstName(word),
      names: names(word),
      color: colorOf(vocabulary.value, word),
    }));
  if (!hasNone) options.push({ key: NOTHING, text: "no word", names: [], color: null, isAlways: true });
  options.push({ key: FOUND, text: "as the model found it", names: [], isAlways: true });
  return options;
}

export function choiceOf(key: string): Choice {
  return key === FOUND ? undefined : key === NOTHING ? null : key;
}
