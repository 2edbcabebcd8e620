/** Changes that the service refused: what they are, why, and what becomes of them. */

import { useSignal } from "@preact/signals";

import { sentence } from "../backend";
import type { Unsent } from "../project/outbox";
import type { RemoteStore } from "../project/remote_store";
import { save } from "../saving/files";
import { refusedZip } from "../saving/project_file";
import type { Session } from "../session/session";
import { Button } from "./buttons";
import { Dialog } from "./dialog";
import { plural } from "./page";

export function Refused({ session, store }: { session: Session; store: RemoteStore }) {
  const isOpen = useSignal(false),
    problem = useSignal("");
  const refused = store.refused.value;
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
            {refused.map(({ key, unsent, refused: reason }, at) => (
              <li key={key}>
                <strong>{titleOf(unsent)}</strong>
                <p class="error">{reason}</p>
                <div class="row">
                  <Button text="Try again" kind="primary" onClick={() => store.retry(refused[at])} />
                  {unsent.kind !== "removal" && (
                    <Button text="Save as file" onClick={() => act(async () => save(await refusedZip(session, store, unsent)))} />
                  )}
                  <Button text="Discard" onClick={() => act(() => store.discard(refused[at]))} />
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

function titleOf(unsent: Unsent): string {
  if (unsent.kind === "project") return "Words and options";
  const name = `“${unsent.state.image}”`;
  return unsent.kind === "work" ? `Labels of ${name}` : unsent.isRemoved ? `Removing ${name}` : `Putting ${name} back`;
}
