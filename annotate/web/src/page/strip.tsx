/** The images as a strip, with what became of each. */

import { computed } from "@preact/signals";
import { useMemo, useRef, useState } from "preact/hooks";

import type { Item } from "../session/item";
import { AddImages } from "./add_images";
import { Dialog } from "./dialog";
import { Finder } from "./finder";
import { Icon, IconButton } from "./icons";
import type { Page } from "./page";
import { plural } from "./phrases";
import { ProgressDialog } from "./progress_dialog";
import { useThumbnail, useVisible } from "./thumbnails";

export function Strip({ page }: { page: Page }) {
  const { session, labeler } = page;
  const [isAsking, setAsking] = useState(false);
  const [isFinding, setFinding] = useState(false);
  const [hasProgress, setProgress] = useState(false);
  const counts = useMemo(
    () =>
      computed(() => {
        const items = session.items.value;
        return {
          labeled: items.filter((item) => labeler.isLabeled(item)).length,
          done: items.filter(({ isDone }) => isDone.value).length,
          failed: items.filter((item) => item.state.value.kind === "failed"),
        };
      }),
    [],
  );
  const items = session.items.value;
  const removed = session.removed.value.at(-1);
  if (!items.length && !removed) return null;
  const { labeled, done, failed } = counts.value;
  const told = session.settings.words.value.length
    ? `${labeled} of ${plural(items.length, "image")} labeled`
    : plural(items.length, "image");
  return (
    <section class="strip" aria-label="Images">
      <div class="row">
        <p class="help">
          {told}
          {done > 0 && `, ${done} done`}
        </p>
        {labeled < items.length && labeled > 0 && (
          <progress aria-label="Labeled images" max={items.length} value={labeled} />
        )}
        <DoneButton page={page} />
        {failed.length > 1 && (
          <button type="button" onClick={() => labeler.retry(failed)}>
            Try {failed.length} images again
          </button>
        )}
        {removed && (
          <button type="button" onClick={() => void session.putBack()}>
            Put back {removed.name}
          </button>
        )}
        <IconButton icon="find" label="Find images" isPressed={isFinding} onClick={() => setFinding(!isFinding)} />
        <IconButton icon="chart" label="Progress" onClick={() => setProgress(true)} />
        <AddImages page={page} isCompact />
        {!session.store.isShared && (
          <button type="button" class="link" onClick={() => setAsking(true)}>
            Clear all
          </button>
        )}
      </div>
      {(isFinding || session.listing.isNarrowed.value) && <Finder page={page} />}
      <Entries page={page} />
      {hasProgress && <ProgressDialog page={page} onClose={() => setProgress(false)} />}
      {!session.isLasting && <p class="help">This window keeps nothing: save your results before you close it.</p>}
      {isAsking && (
        <Dialog title="Clear all?" onClose={() => setAsking(false)}>
          <p>All images, words, taught words and corrections are removed from this browser. Files that you saved stay.</p>
          <div class="row">
            <button
              type="button"
              class="primary"
              onClick={() => {
                setAsking(false);
                void session.clear();
              }}
            >
              Remove everything
            </button>
            <button type="button" onClick={() => setAsking(false)}>
              Keep it
            </button>
          </div>
        </Dialog>
      )}
    </section>
  );
}

/** Ends the work on the open image, or takes it up again. */
function DoneButton({ page: { session } }: { page: Page }) {
  if (session.current.value?.item.isDone.value)
    return (
      <button type="button" title="Let tools change this image again" onClick={() => session.reopen()}>
        <Icon name="unlock" />
        Reopen
      </button>
    );
  return (
    <button
      type="button"
      title="Lock this image, and go to the next one (N)"
      disabled={!session.canCorrect.value}
      onClick={() => void session.finish()}
    >
      <Icon name="done" />
      Done
    </button>
  );
}

/** The images that are in sight; of a thousand, all others cost nothing. */
function Entries({ page }: { page: Page }) {
  const list = useRef<HTMLUListElement>(null);
  const items = page.session.listing.listed.value;
  const chosen = items.indexOf(page.session.chosen.value!);
  const { first, last, before, after } = useVisible(list, items.length, chosen);
  return (
    <ul ref={list}>
      {before > 0 && <li class="room" style={{ width: `${before}px` }} aria-hidden="true" />}
      {items.slice(first, last).map((item) => (
        <StripEntry key={item.id} item={item} page={page} />
      ))}
      {after > 0 && <li class="room" style={{ width: `${after}px` }} aria-hidden="true" />}
    </ul>
  );
}

function StripEntry({ item, page: { session, labeler } }: { item: Item; page: Page }) {
  const isChosen = session.chosen.value === item;
  const address = useThumbnail(item);
  const state = item.state.value;
  const isDone = item.isDone.value;
  const kind = isDone ? "done" : state.kind === "labeled" && !labeler.isLabeled(item) ? "waiting" : state.kind;
  const told = {
    waiting: "not labeled yet",
    running: "being labeled",
    labeled: "labeled",
    failed: "failed",
    done: "done",
  }[kind];
  return (
    <li class={`entry ${kind}`}>
      <button
        type="button"
        class="thumbnail"
        aria-current={isChosen}
        aria-label={`${item.name}, ${told}`}
        title={state.kind === "failed" ? state.message : item.name}
        onClick={() => void session.open(item)}
      >
        {address && <img src={address} alt="" />}
      </button>
      {isDone && (
        <span class="mark">
          <Icon name="done" />
        </span>
      )}
      {kind === "failed" && (
        <button type="button" class="retry" aria-label={`Try ${item.name} again`} onClick={() => labeler.retry([item])}>
          Again
        </button>
      )}
      <button type="button" class="remove" aria-label={`Remove ${item.name}`} onClick={() => void session.remove(item)}>
        <Icon name="close" />
      </button>
    </li>
  );
}
