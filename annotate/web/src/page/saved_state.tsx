/** Whether everything that was done is kept, and where. */

import type { Page } from "./page";
import { plural } from "./phrases";

export function SavedState({ page: { session } }: { page: Page }) {
  const { store, writer } = session;
  const waiting = store.waiting.value;
  const isWriting = writer.pending.value > 0;
  const told =
    isWriting || (waiting && !store.isAway.value)
    ? "Saving…"
    : waiting
      ? `${plural(waiting, "change")} ${waiting === 1 ? "waits" : "wait"} for the service`
      : "All changes are saved";
  return (
    <span
      class={waiting && store.isAway.value ? "saved away" : "saved"}
      data-state={isWriting ? "saving" : waiting ? "waiting" : "saved"}
    >
      {told}
    </span>
  );
}
