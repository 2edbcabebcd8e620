/** The images as a strip, with what became of each. */

import { useEffect, useRef, useState } from "preact/hooks";

import type { Item } from "../session/item";
import { Dialog } from "./dialog";
import { Icon } from "./icons";
import { AddImages } from "./add_images";
import { plural, type Page } from "./page";

export function Strip({ page }: { page: Page }) {
  const { session, labeler } = page;
  const [isAsking, setAsking] = useState(false);
  const items = session.items.value;
  const removed = session.removed.value.at(-1);
  if (!items.length && !removed) return null;
  const failed = items.filter((item) => item.state.value.kind === "failed");
  const done = items.filter((item) => labeler.isDone(item)).length;
  return (
    <section class="strip" aria-label="Images">
      <div class="row">
        <p class="help">
          {session.settings.words.value.length
            ? `${done} of ${plural(items.length, "image")} labeled`
            : plural(items.length, "image")}
        </p>
        {done < items.length && done > 0 && <progress aria-label="Labeled images" max={items.length} value={done} />}
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
        <AddImages page={page} isCompact />
        <button type="button" class="link" onClick={() => setAsking(true)}>
          Clear all
        </button>
      </div>
      <ul>
        {items.map((item) => (
          <StripEntry key={item.id} item={item} page={page} />
        ))}
      </ul>
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

function StripEntry({ item, page: { session, labeler } }: { item: Item; page: Page }) {
  const element = useRef<HTMLLIElement>(null);
  const isChosen = session.chosen.value === item;
  const state = item.state.value;
  const kind = state.kind === "done" && !labeler.isDone(item) ? "waiting" : state.kind;
  const told = { waiting: "not labeled yet", running: "being labeled", done: "labeled", failed: "failed" }[kind];

  useEffect(() => {
    if (isChosen) element.current!.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [isChosen]);

  return (
    <li ref={element} class={`entry ${kind}`}>
      <button
        type="button"
        class="thumbnail"
        aria-current={isChosen}
        aria-label={`${item.name}, ${told}`}
        title={state.kind === "failed" ? state.message : item.name}
        onClick={() => void session.open(item)}
      >
        <img src={item.thumbnail} alt="" />
      </button>
      {state.kind === "failed" && (
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
