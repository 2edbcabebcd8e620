/** What is there while the service's project can't be opened. */

import { useEffect } from "preact/hooks";

import { KeyForm } from "./key_form";

/** How long until it is tried again by itself [ms]. */
const PAUSE = 3000;

export interface ClosedProps {
  problem: string;
  needsKey: boolean;
  /** Try again, with a key if one is asked for. */
  onTry: (key: string) => void;
}

export function Closed({ problem, needsKey, onTry }: ClosedProps) {
  useEffect(() => {
    if (needsKey) return;
    const timer = setTimeout(() => onTry(""), PAUSE);
    return () => clearTimeout(timer);
  }, [problem, onTry]);
  return (
    <main class="welcome">
      <h2>The project can't be opened yet</h2>
      <p role="alert">{problem}</p>
      {needsKey && <KeyForm onKey={onTry} />}
    </main>
  );
}
