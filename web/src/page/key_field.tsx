/** Asks for the key of a service that wants one. */

import { useState } from "preact/hooks";

import type { Page } from "./page";

export function KeyField({ page }: { page: Page }) {
  const [key, setKey] = useState("");
  if (!page.labeler.needsKey.value) return null;
  return (
    <form
      class="column"
      onSubmit={(event) => {
        event.preventDefault();
        page.useKey(key.trim());
      }}
    >
      <label class="field">
        API key of the service
        <input type="password" autocomplete="off" value={key} onInput={(event) => setKey(event.currentTarget.value)} />
      </label>
      <button type="submit" class="primary">
        Use it
      </button>
    </form>
  );
}
