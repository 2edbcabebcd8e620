/** Changes that the service refused: what they are, why, and what becomes of them. */

import { useSignal } from "@preact/signals";

import { sentence } from "../backend";
import type { Refusal } from "../project/structure";
import { save } from "../saving/files";
import { refusedZip } from "../saving/project_file";
import { Button } from "./buttons";
import { Dialog } from "./dialog";
import { type Page, plural } from "./page";

export function Refused({ page: { session } }: { page: Page }) {
  const isOpen = useSignal(false),
    problem = useSignal("");
  const refused = session.store.refused.value;
  if (!refused.length) return null;
  const act = async (what: () => unknown) => {
    problem.value = "";
    try {
      await what();
    } catch (failure) {
      problem.value = sentence(failure);
    }
  };
  return (
    <>
      <Button
        text={`${plural(refused.length, "change")} refused`}
        kind="refused"
        title="The service doesn't take them; they are kept in this browser"
        onClick={() => (isOpen.value = true)}
      />
      {isOpen.value && (
        <Dialog title="Refused changes" onClose={() => (isOpen.value = false)}>
          <p>The service doesn't take these changes. They are kept in this browser until you decide; all others are sent.</p>
          <ul class="column refusals">
            {refused.map((refusal) => (
              <li key={refusal.key}>
                <strong>{titleOf(refusal)}</strong>
                <p class="error">{refusal.reason}</p>
                <div class="row">
                  <Button text="Try again" kind="primary" onClick={() => session.store.retry(refusal)} />
                  {refusal.kind !== "removal" && (
                    <Button text="Save as file" onClick={() => act(async () => save(await refusedZip(session, refusal)))} />
                  )}
                  <Button text="Discard" onClick={() => act(() => session.store.discard(refusal))} />
                </div>
              </li>
            ))}
          </ul>
          <p class="error" role="alert">
            {problem.value}
          </p>
        </Dialog>
      )}
    </>
  );
}

function titleOf({ name, kind, isRemoved }: Refusal): string {
  if (kind === "project") return "Words and options";
  return kind === "work" ? `Labels of “${name}”` : isRemoved ? `Removing “${name}”` : `Putting “${name}” back`;
}
