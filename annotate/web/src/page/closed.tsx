/** What is there instead of the page: while the service's project can't be opened, or another tab has the work. */

import { useEffect } from "preact/hooks";

import { Button, TextForm } from "./buttons";

/** How long until it is tried again by itself [ms]. */
const PAUSE = 3000;

type OnKey = (key: string) => void;

/** @param onTry again, with a key if one is asked for. */
export function Closed({ problem, needsKey, onTry }: { problem: string; needsKey: boolean; onTry: OnKey }) {
  useEffect(() => {
    if (needsKey) return;
    const timer = setTimeout(() => onTry(""), PAUSE);
    return () => clearTimeout(timer);
  }, [problem, onTry]);
  return (
    <main class="welcome">
      <h2>{needsKey ? "Type your API key" : "The project can't be opened yet"}</h2>
      <p role="alert">{problem}</p>
      {needsKey && <KeyForm onKey={onTry} />}
    </main>
  );
}

/** What a tab shows after another one took its work over. */
export function Elsewhere() {
  return (
    <main class="welcome">
      <h2>This work is open in another tab</h2>
      <p>Everything that you did here is kept, and is in the other tab.</p>
      <Button text="Continue here" kind="primary" onClick={() => location.reload()} />
    </main>
  );
}

export function KeyForm({ onKey }: { onKey: OnKey }) {
  return (
    <TextForm
      label="API key of the service"
      submit="Use it"
      field={{ type: "password", autocomplete: "off", autofocus: true }}
      onSubmit={(key) => onKey(key.trim())}
    />
  );
}
