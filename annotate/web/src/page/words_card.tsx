/** What is looked for: words, parts of objects, and files of taught words. */

import { useSignal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";

import { sentence, type TaughtFile } from "../backend";
import type { Word } from "../labels/labeling";
import { firstName, names, promoted } from "../labels/synonyms";
import { lookFor } from "../session/settings";
import { objectsOf, partsOf, partsProblem, splitWords, takenBy, typed, withoutPart, withWords } from "../words/list";
import type { TypedPart } from "../words/list";
import { Button, FileButton, RemoveButton, TextForm } from "./buttons";
import { ask, Dialog } from "./dialog";
import { type Page, plural } from "./page";
import { WordRows } from "./word_rows";

interface Note {
  readonly text: string;
  readonly undo?: () => void;
}

export function WordsField({ page }: { page: Page }) {
  const { settings } = page.session;
  const words = settings.words.value;
  const [text, setText] = useState("");
  const [note, setNote] = useState<Note | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const wanted = text.trim().toLowerCase();
  const isWanted = ({ name }: Pick<Word, "name">) => name.toLowerCase().includes(wanted);
  // while something is typed that no word has, it is a new one
  const isFinding = wanted !== "" && words.some((name) => isWanted({ name }));

  const { session } = page;
  const mayChange = session.store.may("annotate");
  const change = (changed: readonly string[]) => lookFor(settings, changed);
  const add = (given: string) => {
    const changed = withWords(words, splitWords(given));
    setNote(changed.note === null ? null : { text: changed.note });
    setText("");
    if (changed.words.length > words.length) change(changed.words);
  };
  const remove = (...gone: readonly string[]) => {
    const what = gone.length > 1 ? `all ${gone.length} words` : `“${firstName(gone[0])}”`;
    const act = () => {
      change(words.filter((word) => !gone.includes(word)));
      const undo = () => change(withWords(settings.words.value, gone).words);
      setNote({ text: `Removed ${what}.`, undo });
      field.current?.focus();
    };
    const text = "Nobody looks for what is removed any more, in any image. Pixels that people gave it keep it.";
    if (session.store.isShared) ask(page, { title: `Remove ${what} for everybody?`, yes: "Remove", onYes: act, children: text });
    else act();
  };
  const rename = ({ id, name }: Word, given: string) => {
    const other = takenBy(settings.vocabulary.value, id, given);
    setNote(null);
    if (!other) return session.rename(id, given);
    const [from, into] = [firstName(name), firstName(other.name)];
    const act = async () => {
      try {
        setNote({ text: `Merging “${from}” into “${into}” …` });
        await session.merge(id, other.id);
        setNote({ text: `“${from}” is “${into}” now.` });
      } catch (failure) {
        setNote({ text: sentence(failure) });
      }
    };
    ask(page, {
      title: `Merge “${from}” into “${into}”?`,
      yes: "Merge them",
      onYes: () => void act(),
      children: `“${into}” is a word already. All pixels of “${from}” become “${into}”, in all images, done or not.`,
    });
  };
  const edit = (word: Word) =>
    (page.dialog.value = (close) => <WordDialog word={word.name} onChange={(changed) => rename(word, changed)} onClose={close} />);

  return (
    <div class="words">
      <div class="heading">
        <label for="words">Words to look for</label>
        {words.length > 1 && mayChange && (
          <Button text="Remove all" kind="link" label="Remove all words" onClick={() => remove(...words)} />
        )}
      </div>
      <input
        id="words"
        ref={field}
        type="text"
        autocomplete="off"
        autocapitalize="none"
        enterkeyhint="done"
        aria-describedby="words-help"
        placeholder={words.length ? "Add a word, or find one" : "cat, sofa, wall"}
        value={text}
        disabled={!mayChange}
        onInput={({ currentTarget: { value } }) => (value.includes(",") ? add(value) : setText(value))}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.isComposing) add(text);
          if (event.key === "Backspace" && !text && words.length) remove(words[words.length - 1]);
        }}
        onBlur={() => text.trim() && !isFinding && add(text)}
        onPaste={(event) => {
          const pasted = event.clipboardData?.getData("text") ?? "";
          if (!/[,\n\r]/.test(pasted)) return;
          event.preventDefault();
          add(`${text}${pasted}`);
        }}
      />
      <p id="words-help" class={words.length ? "hidden" : "help"}>
        Commas separate words, “=” synonyms; a list can be pasted. Each pixel gets the likeliest word: name the
        background too.
      </p>
      {note && (
        <p class="help" role="status">
          {note.text}{" "}
          {note.undo && (
            <Button
              text="Undo"
              kind="link"
              onClick={() => {
                setNote(null);
                note.undo!();
              }}
            />
          )}
        </p>
      )}
      <WordRows
        page={page}
        isWanted={(word) => !isFinding || isWanted(word)}
        isNarrowed={isFinding}
        onEdit={edit}
        onRemove={({ name }) => remove(name)}
      />
    </div>
  );
}

interface WordDialogProps {
  word: string;
  onChange: (word: string) => void;
  onClose: () => void;
}

function WordDialog({ word, onChange, onClose }: WordDialogProps) {
  const text = useSignal(typed(word));
  const all = names(splitWords(text.value.replaceAll(",", "="))[0] ?? "").filter(Boolean);

  return (
    <Dialog title={`Rename “${firstName(word)}”`} onClose={onClose}>
      <TextForm
        label="Name; “=” adds synonyms"
        text={text}
        submit="Rename"
        // whoever types at once gives another name
        field={{ type: "text", autocapitalize: "none", autofocus: true, onFocus: ({ currentTarget }) => currentTarget.select() }}
        onSubmit={() => {
          onClose();
          onChange(text.value);
        }}
      >
        {all.length > 1 && (
          <fieldset class="column">
            <legend>First</legend>
            {all.map((name, at) => (
              <label key={name} class="check">
                <input
                  type="radio"
                  name="name"
                  checked={at === 0}
                  onChange={() => (text.value = typed(promoted(all.join(", "), name)))}
                />
                {name}
              </label>
            ))}
          </fieldset>
        )}
        <p class="help">The model looks for the first name. If it finds little, another one may do better.</p>
      </TextForm>
    </Dialog>
  );
}

export function PartsField({ page }: { page: Page }) {
  const { parts, words } = page.session.settings;
  const [text, setText] = useState(parts.value);
  const problem = partsProblem(text);
  const use = (given: string) => {
    lookFor(page.session.settings, withWords(words.value, objectsOf(given)).words);
    parts.value = given;
  };
  const remove = (part: TypedPart) => {
    parts.value = withoutPart(parts.value, part);
    setText(parts.value);
  };
  if (!page.session.model.value?.hasParts) return null;
  const known = partsProblem(parts.value) ? [] : partsOf(parts.value);

  return (
    <div class="field">
      <label for="parts">Parts of objects</label>
      <input
        id="parts"
        type="text"
        autocomplete="off"
        autocapitalize="none"
        placeholder="dog: head, leg; *: tail"
        aria-describedby="parts-help"
        aria-invalid={problem !== null}
        value={text}
        disabled={!page.session.store.may("annotate")}
        onInput={(event) => setText(event.currentTarget.value)}
        // a part that is half typed isn't looked for
        onChange={() => problem === null && use(text)}
      />
      {known.length > 0 && (
        <ul class="chips" aria-label="Parts to look for">
          {known.map((one) => (
            <li key={`${one.object}: ${one.part}`}>
              <span class="name">{nameOf(one)}</span>
              <RemoveButton name={nameOf(one)} onClick={() => remove(one)} />
            </li>
          ))}
        </ul>
      )}
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      <details id="parts-help" class="help">
        <summary>How to write parts</summary>
        <p>
          An object, a colon and its parts: <code>dog: head, leg</code>. Semicolons separate objects:{" "}
          <code>dog: head; cat: tail</code>. A star stands for every word: <code>*: head</code>. Objects become words,
          too.
        </p>
      </details>
    </div>
  );
}

function nameOf({ object, part }: TypedPart): string {
  return object === "*" ? `${part} of every word` : `${object}’s ${part}`;
}

export function TaughtField({ page: { session, labeler } }: { page: Page }) {
  const model = session.model.value;
  if (!model) return null;
  const takesFiles = Boolean(labeler.backend?.teach);
  const given: readonly TaughtFile[] = takesFiles ? session.taught.files.value : [];
  if (!takesFiles && !model.taught.length) return null;

  return (
    <div class="taught">
      <h3 id="taught">Taught words</h3>
      {model.taught.length + given.length > 0 && (
        <ul aria-labelledby="taught">
          {[...model.taught, ...given].map((file) => (
            <li key={`${given.includes(file)} ${file.id}`}>
              <button
                type="button"
                class="about"
                title={`Look for ${file.words.join(", ")}`}
                disabled={!session.store.may("annotate")}
                onClick={() => lookFor(session.settings, withWords(session.settings.words.value, file.words).words)}
              >
                <span class="file-name">{file.name || file.words.join(", ")}</span>
                <span class="more">{plural(file.words.length, "word")}</span>
              </button>
              {given.includes(file) && (
                <RemoveButton name={file.name} onClick={() => void session.taught.remove(file)} />
              )}
            </li>
          ))}
        </ul>
      )}
      {takesFiles && (
        <FileButton
          label="Add taught words"
          icon="plus"
          accept=".safetensors"
          onFiles={(files) => void labeler.teach(files)}
        />
      )}
      {takesFiles && !given.length && (
        <p class="help">
          Files of <code>segvoc teach</code> let words be known by examples, too; they can be dropped.
        </p>
      )}
    </div>
  );
}
