/** The parts of objects, for models that know them. */

import { useState } from "preact/hooks";

import { withWords } from "../words/list";
import { objectsOf, partsOf, partsProblem, withoutPart, type TypedPart } from "../words/parts";
import { Icon } from "./icons";
import type { Page } from "./page";

export function PartsField({ page }: { page: Page }) {
  const { parts, words } = page.session.settings;
  const [text, setText] = useState(parts.value);
  const problem = partsProblem(text);
  const use = (given: string) => {
    words.value = withWords(words.value, objectsOf(given)).words;
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
        onInput={(event) => setText(event.currentTarget.value)}
        // a part that is half typed isn't looked for
        onChange={() => problem === null && use(text)}
      />
      {known.length > 0 && (
        <ul class="chips" aria-label="Parts to look for">
          {known.map((one) => (
            <li key={`${one.object}: ${one.part}`}>
              <span class="name">{nameOf(one)}</span>
              <button type="button" class="remove" aria-label={`Remove ${nameOf(one)}`} onClick={() => remove(one)}>
                <Icon name="close" />
              </button>
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
