/** The images as a strip, with what became of each: found, counted, put in order. */

import { useComputed } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { firstName } from "../labels/synonyms";
import type { Review } from "../project/structure";
import type { Item } from "../session/item";
import { EVERYTHING, type Order, type Progress, progressOf, statistics } from "../session/listing";
import type { Session } from "../session/session";
import { Button, FileButton, Icon, IconButton, RemoveButton, Select, Swatch, Table, TextForm, useAddress } from "./buttons";
import { ask, Dialog } from "./dialog";
import { type Page, percent, placeInVideo, plural } from "./page";
import { PeopleDialog, PersonFilter } from "./people";
import type { StageControl } from "./stage/control";

export function Strip({ page }: { page: Page }) {
  const { session, labeler } = page;
  const [isFinding, setFinding] = useState(false);
  const counts = useComputed(() => {
    const items = session.items.value;
    return {
      labeled: items.filter((item) => labeler.isLabeled(item)).length,
      done: items.filter(({ isDone }) => isDone.value).length,
      failed: items.filter((item) => item.state.value.kind === "failed"),
    };
  });
  const items = session.items.value;
  const removed = session.removed.value.at(-1);
  const mayChange = session.store.may("annotate");
  if (!items.length && !removed) return null;
  const { labeled, done, failed } = counts.value;
  const count = session.settings.words.value.length
    ? `${labeled} of ${plural(items.length, "image")} labeled`
    : plural(items.length, "image");
  const askToEmpty = () =>
    ask(page, {
      title: `Delete ${plural(session.removed.value.length, "removed image")} for good?`,
      yes: "Delete",
      no: "Keep",
      onYes: () => void session.emptyTrash(),
      children: "Nobody can put them back then: their photographs, labels and corrections are deleted.",
    });
  const askToClear = () =>
    ask(page, {
      title: "Clear all?",
      yes: "Remove everything",
      no: "Keep it",
      onYes: () => void session.clear(),
      children: "All images, words, taught words and corrections are removed from this browser. Files that you saved stay.",
    });
  return (
    <section class="strip" aria-label="Images">
      <div class="row">
        <p class="help">
          {count}
          {done > 0 && `, ${done} done`}
        </p>
        {labeled < items.length && labeled > 0 && (
          <progress aria-label="Labeled images" max={items.length} value={labeled} />
        )}
        <SentBack session={session} />
        {mayChange && <DoneButton page={page} />}
        {failed.length > 1 && (
          <Button text={`Try ${failed.length} images again`} onClick={() => labeler.retry(failed)} />
        )}
        {removed && mayChange && <Button text={`Put back ${removed.name}`} onClick={() => session.putBack()} />}
        {removed && session.store.may("administer") && <Button text="Empty the trash" kind="link" onClick={askToEmpty} />}
        <IconButton icon="find" label="Find images" isPressed={isFinding} onClick={() => setFinding(!isFinding)} />
        <IconButton icon="chart" label="Progress" onClick={() => (page.dialog.value = (close) => <ProgressDialog page={page} onClose={close} />)} />
        {page.served && <Button text="People" kind="link" onClick={() => (page.dialog.value = (close) => <PeopleDialog page={page} onClose={close} />)} />}
        {mayChange && <FileButton label="Add" accept={session.accepted} onFiles={(files) => void session.add(files)} />}
        <OpenProject session={session} />
        {!session.store.isShared && <Button text="Clear all" kind="link" onClick={askToClear} />}
      </div>
      {(isFinding || session.listing.isNarrowed.value) && <Finder page={page} />}
      <Entries page={page} />
      {!session.store.isLasting && (
        <p class="help">
          This window keeps nothing: {session.store.isShared ? "leave it open until all changes are saved." : "save your results before you close it."}
        </p>
      )}
    </section>
  );
}

/** What a reviewer said of an image. */
export function reviewText({ verdict, by, comment }: Review): string {
  return `${verdict === "accepted" ? "Accepted" : "Sent back"}${by ? ` by ${by}` : ""}${comment ? `: ${comment}` : ""}`;
}

export function OpenProject({ session }: { session: Session }) {
  if (session.store.isShared) return null;
  return <FileButton label="Open project" icon="folder" accept=".zip" onFiles={([file]) => (session.offered.value = file)} />;
}

/** Lists the images that were sent back; it isn't there without any, unless these are listed still. */
function SentBack({ session }: { session: Session }) {
  const { chosen, items, listing } = session;
  const back = items.value.filter(({ summary }) => progressOf(summary.value) === "sent back");
  const isPressed = listing.wanted.value.progress === "sent back";
  if (!back.length && !isPressed) return null;
  const list = () => {
    listing.wanted.value = isPressed ? EVERYTHING : { ...EVERYTHING, progress: "sent back" };
    if (!isPressed && !back.includes(chosen.value!)) void session.open(back[0]);
  };
  return (
    <button
      type="button"
      class="sent-back"
      aria-pressed={isPressed}
      title={isPressed ? "List all images" : "List these images"}
      onClick={list}
    >
      {back.length} sent back
    </button>
  );
}

function DoneButton({ page: { control, session } }: { page: Page }) {
  const summary = session.current.value?.item.summary.value;
  if (!summary?.done)
    return <Button text="Done" icon="done" kind="primary" title="Lock this image, and go to the next one (N)" reason={session.locked.value} onClick={() => control.done()} />;
  const verdict = summary.review && reviewText(summary.review);
  return (
    <>
      <Button text="Reopen" icon="unlock" title="Let tools change this image again" onClick={() => session.reopen()} />
      {verdict ? (
        <span class="verdict" title={verdict}>
          {verdict}
        </span>
      ) : (
        <Button text="Accept" icon="accepted" title="Nothing is left to change: go to the next one that waits for its review (A)" onClick={() => session.review("accepted")} />
      )}
      <Button text="Send back" icon="undo" title="Say what has to be changed, and reopen it (X)" onClick={() => (control.isSendingBack.value = true)} />
      {control.isSendingBack.value && <SendBack control={control} name={summary.image} />}
    </>
  );
}

function SendBack({ control: { isSendingBack, session }, name }: { control: StageControl; name: string }) {
  const close = () => (isSendingBack.value = false);
  // somebody else may reopen the image meanwhile
  useEffect(() => () => void close(), []);
  return (
    <Dialog title={`Send back “${name}”`} onClose={close}>
      <TextForm
        label="What has to be changed"
        submit="Send it back"
        field={{ type: "text", required: true, maxLength: 2000, autofocus: true }}
        onSubmit={(comment) => (close(), void session.review("sent back", comment))}
      />
    </Dialog>
  );
}

/** The images that are in sight; of a thousand, all others cost nothing. */
function Entries({ page }: { page: Page }) {
  const list = useRef<HTMLUListElement>(null);
  const items = page.session.listing.listed.value;
  // thumbnails are read while the image is
  const opening = items.indexOf(page.session.opening.value!);
  const { look, first, last, before, after } = useVisible(list, items.length, opening);
  return (
    <ul ref={list} onScroll={look}>
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
  const address = useAddress(() => item.thumbnail(), item);
  const state = item.state.value;
  const isDone = item.isDone.value;
  const { copy_of, frame, person, review } = item.summary.value;
  const kind = isDone ? "done" : state.kind === "labeled" && !labeler.isLabeled(item) ? "waiting" : state.kind;
  const status = {
    waiting: "not labeled yet",
    running: "being labeled",
    labeled: "labeled",
    failed: "failed",
    done: review ? "accepted" : "done",
  }[kind];
  const isBack = review?.verdict === "sent back";
  const told = [
    isBack ? reviewText(review) : status,
    ...(frame ? [placeInVideo(frame)] : []),
    ...(copy_of ? ["a copy"] : []),
    ...(person ? [`for ${person}`] : []),
    ...(state.kind === "failed" ? [state.message] : []),
  ];
  return (
    <li class={`entry ${kind}${copy_of ? " copy" : ""}`}>
      <button
        type="button"
        class="thumbnail"
        aria-current={isChosen}
        aria-label={[item.name, ...told].join(", ")}
        title={state.kind === "failed" ? state.message : item.name}
        onClick={() => void session.open(item)}
      >
        {address && <img src={address} alt="" />}
      </button>
      {(isDone || isBack) && (
        <span class={isBack ? "mark back" : "mark"}>
          <Icon name={isBack ? "undo" : review ? "accepted" : "done"} />
        </span>
      )}
      {frame && !person && !isBack && (
        <span class="caption" aria-hidden="true">
          {placeInVideo(frame)}
        </span>
      )}
      {(person || isBack) && (
        <span class={isBack ? "caption error" : "caption"} title={told.join(", ")} aria-hidden="true">
          {isBack ? [review.by, review.comment].filter(Boolean).join(": ") : `${copy_of ? "copy, " : ""}${person}`}
        </span>
      )}
      {kind === "failed" && (
        <Button text="Try again" kind="retry" label={`Try ${item.name} again`} onClick={() => labeler.retry([item])} />
      )}
      {session.store.may("administer") && <RemoveButton name={item.name} onClick={() => void session.remove(item)} />}
    </li>
  );
}

/** How many entries beside those in sight are there, too, so that scrolling shows no gaps. */
const BEYOND = 8;

/** How many there are before the size of the list is known. */
const AT_FIRST = 24;

/**
 * Which entries of a list that scrolls sideways are in sight, and the room of those that are left out [px]; the chosen
 * one is brought there.
 *
 * @param chosen its place; -1: none is.
 */
function useVisible(list: RefObject<HTMLElement | null>, count: number, chosen: number) {
  const [range, setRange] = useState({ first: 0, last: AT_FIRST, width: 0 });

  const look = () => {
    const element = list.current;
    const width = element && entryWidth(element);
    if (!element || !width) return;
    const first = Math.max(0, Math.floor(element.scrollLeft / width) - BEYOND);
    const last = Math.ceil((element.scrollLeft + element.clientWidth) / width) + BEYOND;
    setRange((known) => (known.first === first && known.last === last && known.width === width ? known : { first, last, width }));
  };
  useEffect(() => {
    const observer = new ResizeObserver(look);
    observer.observe(list.current!);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const element = list.current;
    const width = element && entryWidth(element);
    if (!element || !width || chosen < 0) return look();
    const [start, end] = [chosen * width, (chosen + 1) * width];
    if (start < element.scrollLeft) element.scrollLeft = start;
    else if (end > element.scrollLeft + element.clientWidth) element.scrollLeft = end - element.clientWidth;
    look();
  }, [chosen, count]);

  const first = Math.min(range.first, Math.max(0, count - 1)),
    last = Math.min(range.last, count);
  return { look, first, last, before: first * range.width, after: (count - last) * range.width };
}

/** Width of an entry with the gap after it [px]; 0: there is none. */
function entryWidth(list: HTMLElement): number {
  const entry = list.querySelector<HTMLElement>(".entry");
  return entry ? entry.offsetWidth + Number.parseFloat(getComputedStyle(list).columnGap) : 0;
}

const PROGRESS: readonly (readonly [Progress | "open" | "any", string])[] = [
    ["any", "Any state"],
    ["not labeled", "Not labeled"],
    ["labeled", "Labeled, not corrected"],
    ["corrected", "Corrected, not done"],
    ["open", "Open"],
    ["done", "Done, not reviewed"],
    ["accepted", "Accepted"],
    ["sent back", "Sent back"],
  ],
  ORDERS: readonly (readonly [Order, string])[] = [
    ["added", "As added"],
    ["least certain", "Least certain first"],
    ["name", "By name"],
  ];

function Finder({ page: { session } }: { page: Page }) {
  const { listing, settings, items } = session;
  const wanted = listing.wanted.value;
  const shown = listing.listed.value.length;
  return (
    <div class="finder" role="search" aria-label="Find images">
      <input
        type="search"
        aria-label="File name"
        placeholder="File name"
        value={wanted.text}
        onInput={({ currentTarget }) => listing.look({ text: currentTarget.value })}
      />
      <Select
        label="State"
        options={PROGRESS}
        value={wanted.progress}
        onChange={(progress) => listing.look({ progress })}
      />
      <Select
        label="Word"
        options={[
          ["", "Any word"],
          ...settings.vocabulary.value.map(({ id, name }) => [String(id), firstName(name)] as const),
        ]}
        value={wanted.word === null ? "" : String(wanted.word)}
        onChange={(word) => listing.look({ word: word === "" ? null : Number(word) })}
      />
      <PersonFilter session={session} />
      <Select label="Order" options={ORDERS} value={wanted.order} onChange={(order) => listing.look({ order })} />
      <p class="help" role="status">
        {shown < items.value.length ? `${shown} of ${plural(items.value.length, "image")}` : ""}
      </p>
      {wanted !== EVERYTHING && <Button text="Show all" kind="link" onClick={() => (listing.wanted.value = EVERYTHING)} />}
    </div>
  );
}

function ProgressDialog({ page: { session }, onClose }: { page: Page; onClose: () => void }) {
  const { images, progress, decided, words } = statistics(
    session.items.value.map(({ summary }) => summary.value),
    session.settings.vocabulary.value,
  );
  const done = progress.done + progress.accepted;
  const hasObjects = words.some(({ objects }) => objects > 0);
  const list = (word: number) => {
    session.listing.look({ word });
    onClose();
  };
  return (
    <Dialog title="Progress" onClose={onClose}>
      <p>
        {done} of {plural(images, "image")} done, {progress.corrected} corrected, {progress.labeled} labeled by the model
        alone, {progress["not labeled"]} not labeled.
      </p>
      {progress.accepted + progress["sent back"] > 0 && (
        <p>
          {progress.accepted} accepted, {progress["sent back"]} sent back.
        </p>
      )}
      <progress aria-label="Images that are done" max={Math.max(1, images)} value={done} />
      <p class="help">People decided {percent(decided)} of the labeled pixels.</p>
      {words.length > 0 && (
        <Table
          label="Words"
          head={["Word", "Pixels", "Images", "Done", ...(hasObjects ? ["Objects"] : [])]}
          rows={words.map(({ word, fraction, images: shown, done: ended, objects }) => [
            <button type="button" class="link" title="List the images that show it" onClick={() => list(word.id)}>
              <Swatch color={word.color} /> {firstName(word.name)}
            </button>,
            ...[percent(fraction), shown, ended],
            ...(hasObjects ? [objects] : []),
          ])}
        />
      )}
    </Dialog>
  );
}
