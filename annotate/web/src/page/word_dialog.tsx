/** The names of one class: how it is spelled, and which of its synonyms is looked for. */

import { useState } from "preact/hooks";

import { names, promoted } from "../labels/synonyms";
import { splitWords, typed } from "../words/list";
import { Dialog } from "./dialog";

export interface WordDialogProps {
  word: string;
  onChange: (word: string) => void;
  onClose: () => void;
}

export function WordDialog({ word, onChange, onClose }: WordDialogProps) {
  const [text, setText] = useState(typed(word));
  const all = names(splitWords(text.replaceAll(",", "="))[0] ?? "").filter(Boolean);

  return (
    <Dialog title="Synonyms" onClose={onClose}>
      <form
        class="column"
        onSubmit={(event) => {
          event.preventDefault();
          onChange(text);
          onClose();
        }}
      >
        <label class="field">
          Names, with “=” between them
          <input
            type="text"
            autocapitalize="none"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        {all.length > 1 && (
          <fieldset class="column">
            <legend>First</legend>
            {all.map((name, at) => (
              <label key={name} class="check">
                <input
                  type="radio"
                  name="name"
                  checked={at === 0}
                  onChange={() => setText(typed(promoted(all.join(", "), name)))}
                />
                {name}
              </label>
            ))}
          </fieldset>
        )}
        <p class="help">The model looks for the first name. If it finds little, another one may do better.</p>
        <button type="submit" class="primary">
          Done
        </button>
      </form>
    </Dialog>
  );
}
