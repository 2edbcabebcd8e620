/** Asks for the key of a service. */

import { useState } from "preact/hooks";

export function KeyForm({ onKey }: { onKey: (key: string) => void }) {
  const [key, setKey] = useState("");
  return (
    <form
      class="column"
      onSubmit={(event) => {
        event.preventDefault();
        onKey(key.trim());
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
