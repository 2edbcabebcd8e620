/** The parts of objects, for models that know them. */

import { useState } from "preact/hooks";

import { partsProblem } from "../words/parts";
import type { Page } from "./page";

export function PartsField({ page }: { page: Page }) {
  const { parts } = page.session.settings;
  const [text, setText] = useState(parts.value);
  const problem = partsProblem(text);
  if (!page.session.model.value?.hasParts) return null;

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
        onChange={() => problem === null && (parts.value = text)}
      />
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      <details id="parts-help" class="help">
        <summary>How to write parts</summary>
        <p>
          An object, a colon and its parts: <code>dog: head, leg</code>. Semicolons separate objects:{" "}
          <code>dog: head; cat: tail</code>. A star stands for every word: <code>*: head</code>. Objects needn't be
          among the words.
        </p>
      </details>
    </div>
  );
}
