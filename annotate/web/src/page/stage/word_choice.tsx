/** Chooses the word of the tools: from a menu, or by its letters. */

import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";

import type { Color } from "../../imaging/palette";
import type { Choice } from "../../labels/edits";
import { firstName, names } from "../../labels/synonyms";
import { lookedFor } from "../../project/words";
import type { Settings } from "../../session/settings";
import { IconButton, Select, Swatch } from "../buttons";
import { Dialog } from "../dialog";
import type { Page } from "../page";
import type { Workbench } from "./workbench";

/** Keys of what isn't a word, whose key is its id. */
const NOTHING = " nothing",
  FOUND = " found";

export function WordChoice({ work }: { work: Workbench }) {
  const choice = work.choice.value;
  return (
    <>
      {choice !== undefined && <Swatch color={work.color.value} />}
      <Select
        label="Paint"
        options={optionsOf(work.session.settings, null).map(({ key, text }) => [key, text])}
        value={choice === undefined ? FOUND : String(choice ?? NOTHING)}
        onChange={(key) => work.choose(choiceOf(key))}
      />
      <IconButton icon="find" label="Find a word by its letters" onClick={() => (work.isFinding.value = true)} />
    </>
  );
}

export function WordFinder({ page: { control, session } }: { page: Page }) {
  const close = () => (control.isFinding.value = false);
  return (
    <Dialog title="The word of the tools" onClose={close}>
      <WordList
        label="Find a word"
        options={optionsOf(session.settings, null)}
        onKeep={close}
        onChoose={(key) => {
          control.choose(choiceOf(key));
          close();
        }}
      />
    </Dialog>
  );
}

/** @param has id of the word that the pixels have, which isn't offered; null: none. */
export function optionsOf({ vocabulary }: Settings, has: number | null, hasNone = false): Option[] {
  const options: Option[] = lookedFor(vocabulary.value)
    .map(({ id, name, color }, at) => ({ key: String(id), text: firstName(name), names: names(name), color, number: String(at + 1) }))
    .filter(({ key }) => key !== String(has));
  if (!hasNone) options.push({ key: NOTHING, text: "no word", names: [], color: null, isAlways: true });
  options.push({ key: FOUND, text: "as the model found it", names: [], isAlways: true });
  return options;
}

/** The words of an image first, the largest first, then those that were used last. */
export function inOrder<Word extends { readonly key: string }>(options: readonly Word[], pixelsOf: (word: Word) => number, used: readonly number[]): Word[] {
  const place = ({ key }: Word) => (used.includes(Number(key)) ? used.indexOf(Number(key)) : used.length);
  return options.toSorted((one, other) => pixelsOf(other) - pixelsOf(one) || place(one) - place(other));
}

export function choiceOf(key: string): Choice {
  return key === FOUND ? undefined : key === NOTHING ? null : Number(key);
}

interface Option {
  readonly key: string;
  readonly text: string;
  readonly names: readonly string[];
  /** null: that of no word; undefined: it has none. */
  readonly color?: Color | null;
  /** What chooses it, typed as digits; undefined: nothing does. */
  readonly number?: string;
  /** Whether it is offered whatever was typed, after what is found. */
  readonly isAlways?: boolean;
}

interface WordListProps {
  label: string;
  options: readonly Option[];
  /** What can be done with a text that is no word yet. */
  addition?: ((text: string) => string | null) | undefined;
  onChoose: (key: string) => void;
  onAdd?: (text: string) => void;
  /** What was typed is the word that holds already. */
  onKeep: () => void;
  /** Told which option a pointer or a key is at; null: none. */
  onLook?: (key: string | null) => void;
  /** The word that holds, which isn't listed. */
  current?: string | null;
}

const NEW = "new ";

export function WordList({ label, options, addition, onChoose, onAdd, onKeep, onLook, current }: WordListProps) {
  const [text, setText] = useState("");
  /** null: neither a pointer nor a key was at an option since something was typed. */
  const [at, setAt] = useState<number | null>(null);
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  // no key comes before it
  useLayoutEffect(() => {
    // a touch screen isn't covered by its keys before the field is tapped; those of a keyboard are for the field
    const type = ({ key, altKey, ctrlKey, metaKey }: KeyboardEvent) => {
      if (key.length === 1 && key !== " " && !altKey && !ctrlKey && !metaKey) field.current?.focus();
    };
    document.addEventListener("keydown", type);
    return () => document.removeEventListener("keydown", type);
  }, []);
  const wanted = text.trim().toLowerCase();
  // digits are the number of a word
  const added = wanted && !/^\d+$/.test(wanted) && addition ? addition(text.trim()) : null;
  const fitting = [...offered(options, wanted), ...(added ? [{ key: NEW, text: added, names: [] }] : [])];
  const listed = [...fitting, ...options.filter((option) => option.isAlways && !fitting.includes(option))];
  // what doesn't fit what was typed is chosen by nobody's Enter
  const active = Math.min(at ?? (fitting.length ? 0 : -1), listed.length - 1);
  useEffect(() => onLook?.(at === null && !wanted ? null : (listed[active]?.key ?? null)), [at, text]);
  const choose = ({ key }: Option) => (key === NEW ? onAdd?.(text) : onChoose(key));
  const move = (to: number) => {
    setAt(to);
    document.getElementById(`${id}-${to}`)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <div class="column choices">
      <input
        ref={field}
        type="text"
        role="combobox"
        aria-label={label}
        aria-expanded="true"
        aria-controls={id}
        aria-autocomplete="list"
        aria-activedescendant={active < 0 ? undefined : `${id}-${active}`}
        placeholder={label}
        autocomplete="off"
        autocapitalize="none"
        // a phone's keyboard would cover the words
        autofocus={matchMedia("(pointer: fine)").matches}
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(null);
        }}
        onKeyDown={(event) => {
          if (event.isComposing) return;
          const steps: Readonly<Record<string, number>> = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
          if (event.key in steps) move(Math.max(0, Math.min(listed.length - 1, active + steps[event.key])));
          else if (event.key !== "Enter") return;
          else if (wanted && wanted === current?.toLowerCase()) onKeep();
          else if (active >= 0) choose(listed[active]);
          event.preventDefault();
        }}
      />
      <ul id={id} class="list" role="listbox" aria-label="Words" onPointerLeave={() => setAt(null)}>
        {listed.map((option, place) => (
          <li
            key={option.key}
            id={`${id}-${place}`}
            role="option"
            aria-selected={place === active}
            onPointerMove={() => setAt(place)}
            onClick={() => choose(option)}
          >
            {option.color !== undefined && <Swatch color={option.color} />}
            {option.text}
            {option.number && <kbd aria-hidden="true">{option.number}</kbd>}
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The options that fit a text: that with the number, those that begin with the letters, then those with a part that does; last what is spelled nearly so. */
export function offered(options: readonly Option[], wanted: string): Option[] {
  const rank = ({ text, names, number }: Option) => {
    const all = [text, ...names].map((name) => name.toLowerCase());
    if (all.includes(wanted) || number === wanted) return 0;
    if (all.some((name) => name.startsWith(wanted))) return 1;
    if (all.some((name) => name.includes(` ${wanted}`))) return 2;
    if (all.some((name) => name.includes(wanted))) return 3;
    return 3 + Math.min(...all.map((name) => mistakes(wanted, name)));
  };
  const most = 3 + Math.floor(wanted.length / 4);
  const ranked = options.map((option) => [rank(option), option] as const);
  // sorting keeps the order of those with the same rank
  return ranked.filter(([place]) => place <= most).sort(([one], [other]) => one - other).map(([, option]) => option);
}

/** Fewest letters to change, add or leave away until a text is what a name begins with. */
function mistakes(text: string, name: string): number {
  let before = Array.from({ length: name.length + 1 }, (_, at) => at);
  for (const [row, letter] of [...text].entries()) {
    const line = [row + 1];
    for (let at = 0; at < name.length; at++) line.push(Math.min(line[at] + 1, before[at + 1] + 1, before[at] + Number(name[at] !== letter)));
    before = line;
  }
  return Math.min(...before);
}
