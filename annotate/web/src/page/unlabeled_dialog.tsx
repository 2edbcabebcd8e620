/** Asks what becomes of images that aren't labeled for the words that hold, when all are saved. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import type { Item } from "../session/item";
import { Dialog } from "./dialog";
import type { Page } from "./page";
import { plural } from "./phrases";

export interface SavingAll {
  /** Save them, or ask first. */
  readonly press: () => void;
  /** The question, while it is open. */
  readonly question: ComponentChildren;
}

/** Saves all images, once it is known what becomes of those that aren't labeled for the words that hold. */
export function useSavingAll(page: Page, save: (items: readonly Item[]) => void): SavingAll {
  const [asked, setAsked] = useState<"asked" | "waiting" | null>(null);
  const { session, labeler } = page;
  const press = () => {
    const items = session.items.value;
    if (items.every((item) => labeler.isLabeled(item))) save(items);
    else setAsked("asked");
  };
  const question = asked && (
    <UnlabeledDialog
      page={page}
      isWaiting={asked === "waiting"}
      onWait={() => setAsked("waiting")}
      onSave={(items) => {
        setAsked(null);
        save(items);
      }}
      onClose={() => setAsked(null)}
    />
  );
  return { press, question };
}

interface UnlabeledDialogProps {
  page: Page;
  /** Whether the reader waits for them. */
  isWaiting: boolean;
  onWait: () => void;
  /** The images that are saved. */
  onSave: (items: readonly Item[]) => void;
  onClose: () => void;
}

function UnlabeledDialog({ page: { session, labeler }, isWaiting, onWait, onSave, onClose }: UnlabeledDialogProps) {
  const items = session.items.value;
  const open = items.filter((item) => !labeler.isLabeled(item));
  const failed = open.filter(({ state }) => state.value.kind === "failed");
  const labeled = items.filter((item) => !open.includes(item));
  useEffect(() => {
    if (isWaiting && !open.length) onSave(items);
  }, [isWaiting, open.length]);
  return (
    <Dialog title={isWaiting ? "Waiting for labels" : "Not everything is labeled"} onClose={onClose}>
      <p>
        {plural(open.length, "image")} {open.length === 1 ? "isn't" : "aren't"} labeled for the current words: what{" "}
        {open.length === 1 ? "it has" : "they have"} is older, or nothing.
        {failed.length > 0 && ` ${failed.length} of them failed.`}
      </p>
      {isWaiting && <progress aria-label="Labeled images" max={items.length} value={labeled.length} />}
      <div class="column">
        {!isWaiting && (
          <button type="button" class="primary" onClick={onWait}>
            Wait for {open.length === 1 ? "it" : "them"}
          </button>
        )}
        <button type="button" disabled={!labeled.length} onClick={() => onSave(labeled)}>
          Leave {open.length === 1 ? "it" : "them"} out
        </button>
        <button type="button" onClick={() => onSave(items)}>
          Save {open.length === 1 ? "it as it is" : "them as they are"}
        </button>
      </div>
    </Dialog>
  );
}
