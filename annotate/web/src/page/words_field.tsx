/** The words as chips, with a field for more. */

import { useEffect, useRef, useState } from "preact/hooks";

import { css } from "../imaging/palette";
import { firstName, names } from "../labels/synonyms";
import { colorOf } from "../project/words";
import { splitWords, withWords } from "../words/list";
import { Icon } from "./icons";
import type { Page } from "./page";
import { WordDialog } from "./word_dialog";

export function WordsField({ page }: { page: Page }) {
  const { synonyms, vocabulary } = page.session.settings;
  const words = page.session.settings.words.value;
  const [text, setText] = useState("");
  const [note, setNote] = useState<string | null>(null);
  const [edited, setEdited] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLUListElement>(null);

  useEffect(() => {
    // the word that was added last is in sight
    if (list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [words.length]);

  const change = (changed: readonly string[]) => (page.session.settings.words.value = changed);
  const add = (given: string) => {
    const changed = withWords(words, splitWords(given));
    setNote(changed.note);
    setText("");
    if (changed.words.length > words.length) change(changed.words);
  };
  const remove = (word: string) => {
    setNote(null);
    change(words.filter((other) => other !== word));
    field.current?.focus();
  };

  return (
    <div class="words">
      <div class="heading">
        <label for="words">Words to look for</label>
        {words.length > 1 && (
          <button
            type="button"
            class="link"
            aria-label="Remove all words"
            onClick={() => {
              setNote(null);
              change([]);
              field.current?.focus();
            }}
          >
            Remove all
          </button>
        )}
      </div>
      <div class="box" onClick={(event) => event.target === event.currentTarget && field.current?.focus()}>
        {words.length > 0 && (
          <ul ref={list} aria-label="Words">
            {words.map((word) => (
              <li key={word}>
                <button type="button" class="name" title="Synonyms and spelling" onClick={() => setEdited(word)}>
                  <span class="swatch" style={{ background: css(colorOf(vocabulary.value, word)) }} />
                  {firstName(word)}
                  {names(word).length > 1 && <span class="more">+{names(word).length - 1}</span>}
                </button>
                <button
                  type="button"
                  class="remove"
                  aria-label={`Remove ${firstName(word)}`}
                  onClick={() => remove(word)}
                >
                  <Icon name="close" />
                </button>
              </li>
            ))}
          </ul>
        )}
        <input
          id="words"
          ref={field}
          type="text"
          autocomplete="off"
          autocapitalize="none"
          enterkeyhint="done"
          aria-describedby="words-help"
          placeholder={words.length ? "Add a word" : "cat, sofa, wall"}
          value={text}
          onInput={({ currentTarget: { value } }) => (value.includes(",") ? add(value) : setText(value))}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.isComposing) add(text);
            if (event.key === "Backspace" && !text && words.length) remove(words[words.length - 1]);
          }}
          onBlur={() => text.trim() && add(text)}
          onPaste={(event) => {
            const pasted = event.clipboardData?.getData("text") ?? "";
            if (!/[,\n\r]/.test(pasted)) return;
            event.preventDefault();
            add(`${text}${pasted}`);
          }}
        />
      </div>
      <p id="words-help" class={words.length ? "hidden" : "help"}>
        Commas separate words, “=” synonyms; a list can be pasted. Each pixel gets the likeliest word: name the
        background too.
      </p>
      {words.some((word) => names(word).length > 1) && (
        <label class="check">
          <input
            type="checkbox"
            checked={synonyms.value === "average"}
            onChange={(event) => (synonyms.value = event.currentTarget.checked ? "average" : "first")}
          />
          Look for all synonyms, not only the first
        </label>
      )}
      {note && (
        <p class="help" role="status">
          {note}
        </p>
      )}
      {edited !== null && (
        <WordDialog
          word={edited}
          onChange={(changed) => page.session.rename(edited, changed)}
          onClose={() => setEdited(null)}
        />
      )}
    </div>
  );
}
