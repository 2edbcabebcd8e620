/** Keys that the reader changes: those of tools and actions, and keys of words, which have numbers without one. */

import { useState } from "preact/hooks";

import { firstName } from "../../labels/synonyms";
import type { ChangedKeys } from "../../session/settings";
import type { Page } from "../page";
import type { StageControl } from "./control";
import type { Key } from "./tool";

/** What a changed key does: what another key does without changes, or the word after this is chosen. */
const WORD = "word ";

/** What can be changed besides the tools' keys. */
const ACTIONS: readonly Key[] = [
  ["w", "Find a word"],
  ["n", "Done"],
  ["j", "Least certain place"],
  ["h", "Image without its labels"],
  ["z", "Show a region"],
];

/** What a key means: a key as it is without changes, a word after `WORD`; empty: nothing any more. */
export function meaningOf(keys: ChangedKeys, pressed: string): string {
  const small = pressed.toLowerCase();
  const [meaning] = Object.entries(keys).find(([, key]) => key === small) ?? [keys[small] === undefined ? pressed : ""];
  return meaning.length === 1 && pressed !== small ? meaning.toUpperCase() : meaning;
}

/** Digits that follow each other within this time are one number [ms]. */
const TOGETHER = 800;

let number = "",
  last = -Infinity;

/** Choose a word by its key, or by its number; false: the key means something else. */
export function chooseWord(control: StageControl, meaning: string, time: number): boolean {
  const words = control.session.settings.words.value.map(firstName);
  if (meaning.startsWith(WORD)) {
    control.choose(meaning.slice(WORD.length));
    return true;
  }
  if (!/^\d$/.test(meaning)) return false;
  const longer = time - last < TOGETHER ? number + meaning : meaning;
  number = Number(longer) <= words.length ? longer : meaning;
  last = time;
  const word = words[Number(number) - 1];
  if (word !== undefined) control.choose(word);
  return Number(number) > 0;
}

export function Shortcuts({ page: { control, session } }: { page: Page }) {
  const { keys, words } = session.settings;
  const [note, setNote] = useState("");
  const rows: Key[] = [
    ...control.tools.map(({ key, label }): Key => [key, label]),
    ...ACTIONS,
    ...words.value.map((word): Key => [WORD + firstName(word), `Choose “${firstName(word)}”`]),
  ];
  const keyOf = (meaning: string) => keys.value[meaning] ?? (meaning.startsWith(WORD) ? "" : meaning);
  const change = (meaning: string, key: string) => {
    const owner = rows.find(([other]) => other !== meaning && keyOf(other) === key);
    const { [meaning]: _, ...others } = keys.value;
    if (owner) setNote(`${key.toUpperCase()} is the key of: ${owner[1]}.`);
    else {
      setNote("");
      keys.value = key === meaning || !key ? others : { ...others, [meaning]: key };
    }
  };
  return (
    <details>
      <summary>Change keys</summary>
      <p class="help">Choose a field and press a letter; Backspace brings back what was there first.</p>
      <p class="error" role="alert">
        {note}
      </p>
      {rows.map(([meaning, label], at) => (
        <label key={meaning} class="shortcut">
          {label}
          <input
            type="text"
            readOnly
            value={keyOf(meaning).toUpperCase()}
            placeholder={meaning.startsWith(WORD) ? String(at - rows.length + words.value.length + 1) : ""}
            onKeyDown={(event) => {
              const isLetter = /^[^\d\s]$/.test(event.key) && !event.ctrlKey && !event.metaKey;
              if (!isLetter && event.key !== "Backspace") return;
              event.preventDefault();
              change(meaning, isLetter ? event.key.toLowerCase() : "");
            }}
          />
        </label>
      ))}
    </details>
  );
}
