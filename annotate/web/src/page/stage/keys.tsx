/** The keyboard on the stage, and the keys that the reader changes; the page's help lists them. */

import type { Signal } from "@preact/signals";
import { useState } from "preact/hooks";

import { firstName } from "../../labels/synonyms";
import { entryOf, lookedFor } from "../../project/words";
import { progressOf } from "../../session/listing";
import type { Session } from "../../session/session";
import type { ChangedKeys } from "../../session/settings";
import type { Page } from "../page";
import type { StageControl } from "./control";
import type { Key } from "./tool";
import { frameChosen, frameRegion } from "./workbench";

/** What keys mean beside those of the tools. */
export const KEYS: readonly Key[] = [
  ["Arrow keys", "move the cursor and read; with Shift, pixel by pixel"],
  ["Space, Enter", "do there what a click does"],
  ["Space held, middle button", "drag the image, with any tool"],
  ["W or /", "find a word by its letters, and choose it for the tools"],
  ["1, 2, … 12", "choose the word with this number for the tools"],
  ["Escape", "leave what was begun"],
  ["+ − 0", "zoom in, zoom out, show everything"],
  ["Z", "show the region at the cursor as large as it fits; with Shift, the chosen word; once more: everything"],
  ["H or \\, held", "the image without its labels"],
  ["N", "done with this image: lock it, and go to the next one"],
  ["A, X", "accept a done image and go to the next one that waits for its review, or send it back"],
  ["J", "the place of the image in which the model doubts most; again: the next one"],
  ["Page Up, Page Down", "previous or next image"],
  ["Ctrl Z, Ctrl Y", "undo, redo: anywhere on the page; of what was begun, Ctrl Z takes back the last step"],
];

const STEPS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** How far an arrow key moves [CSS px]; with Shift, one pixel of the image. */
const STEP = 12;

/** Do what a key of the focused stage means; false: it means nothing. */
export function pressStage(control: StageControl, event: KeyboardEvent): boolean {
  if (control.tool.value.press?.(event)) return true;
  const { shiftKey } = event;
  const key = meaningOf(control.session.settings.keys.value, event.key);
  const reviewed = reviewable(control.session);
  const step = STEPS[key],
    tool = control.tools.find((one) => one.key === key.toLowerCase());
  if (chooseWord(control, key, event.timeStamp)) return true;
  if (step) {
    const length = shiftKey ? 1 : Math.max(1, Math.round(STEP / control.view.value.scale));
    control.step(length * step[0], length * step[1]);
  } else if (tool) control.select(tool);
  else if (key === "+" || key === "=") control.zoom(1.5);
  else if (key === "-" || key === "_") control.zoom(1 / 1.5);
  else if (key === "0") control.fit();
  else if (key === "z") frameRegion(control, control.cursor.value);
  else if (key === "Z") frameChosen(control);
  else if (key === "w" || key === "W" || key === "/") control.isFinding.value = true;
  else if (key === "h" || key === "H" || key === "\\") whileHeld(event, control.isBare);
  else if (key === "j" || key === "J") control.doubts.next();
  else if (key === "?") control.help.value = true;
  else if (key === "Enter") control.act();
  else if (key === " ") whileHeld(event, control.isMoving, () => control.act());
  else if (key === "PageUp" || key === "PageDown") control.session.move(key === "PageUp" ? -1 : 1);
  else if (key.toLowerCase() === "n") void control.done();
  else if (reviewed && key.toLowerCase() === "x") control.isSendingBack.value = true;
  else if (reviewed === "done" && key.toLowerCase() === "a") void control.session.review("accepted");
  else return key === "Escape" && control.leave();
  return true;
}

/** What a review may change of the open image; null: nothing. */
function reviewable({ chosen, store }: Session): "done" | "accepted" | null {
  const progress = chosen.value && store.may("annotate") ? progressOf(chosen.value.summary.value) : null;
  return progress === "done" || progress === "accepted" ? progress : null;
}

/** Switch something on until a key is let go, wherever the focus is then. @param tapped does what the key means if nothing was pressed meanwhile. */
function whileHeld({ code }: KeyboardEvent, isOn: Signal<boolean>, tapped?: () => void): void {
  if (isOn.value) return;
  isOn.value = true;
  const ending = new AbortController();
  const { signal } = ending;
  const end = () => {
    isOn.value = false;
    ending.abort();
  };
  let isTap = true;
  addEventListener("pointerdown", () => (isTap = false), { signal });
  addEventListener("blur", end, { signal });
  addEventListener(
    "keyup",
    (event) => {
      if (event.code !== code) return;
      end();
      if (isTap) tapped?.();
    },
    { signal },
  );
}

/** What is typed into, so that letters mean nothing else there. */
const FIELDS = "select, input:not([type=checkbox], [type=radio], [type=range], [type=file])";

/** Undo, redo, letters and digits mean the same wherever the focus is, unless something is typed; false: nothing. */
export function pressAnywhere(control: StageControl, event: KeyboardEvent): boolean {
  const { altKey, ctrlKey, key, metaKey, shiftKey, target } = event;
  const isText = target instanceof HTMLInputElement && ["text", "password"].includes(target.type);
  if (!(ctrlKey || metaKey)) {
    const isField = (target as Element).matches(FIELDS) || document.querySelector("dialog[open]") !== null;
    const isFree = control.session.current.value !== null && !isField && !altKey && key.length === 1 && key !== " ";
    // what the stage has taken was its own
    return isFree && !event.defaultPrevented && pressStage(control, event);
  }
  if (isText) return false;
  const letter = key.toLowerCase();
  if (letter === "y" || (letter === "z" && shiftKey)) control.retrace("redo");
  else if (letter === "z") control.retrace("undo");
  else return false;
  return true;
}

/** What a changed key does: what another key does without changes, or the word after this is chosen. */
export const WORD = "word ";

/** What can be changed besides the tools' keys. */
const ACTIONS: readonly Key[] = [
  ["w", "Find a word"],
  ["n", "Done"],
  ["a", "Accept"],
  ["x", "Send back"],
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
export const TOGETHER = 800;

/** Choose a word by its key, or by its number; false: the key means something else. */
export function chooseWord(control: StageControl, meaning: string, time: number): boolean {
  const vocabulary = control.session.settings.vocabulary.value,
    words = lookedFor(vocabulary);
  if (meaning.startsWith(WORD)) {
    const id = entryOf(vocabulary, meaning.slice(WORD.length))?.id;
    if (id !== undefined) control.choose(id);
    return true;
  }
  if (!/^\d$/.test(meaning)) return false;
  const { value: before } = control.typed;
  const longer = before && time - before.at < TOGETHER ? before.digits + meaning : meaning;
  const digits = Number(longer) <= words.length ? longer : meaning;
  control.typed.value = Number(digits) ? { digits, at: time } : null;
  const word = words[Number(digits) - 1];
  if (word) control.choose(word.id);
  return Number(digits) > 0;
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
