/** Who labels what: counts, dealing images out, what people did, and how well two agree on the same images. */

import { useState } from "preact/hooks";

import { sentence } from "../backend";
import { firstName } from "../labels/synonyms";
import type { ProjectApi } from "../project/api";
import type { Session } from "../session/session";
import { Button, Check, Select, Table, TextForm, useAddress } from "./buttons";
import { Dialog } from "./dialog";
import { type Page, percent, plural } from "./page";

/** How well two people agree on the same images; shares in [0, 1], null: there is nothing to compare. */
export interface Agreement {
  /** The worst first; `other`: the copy of the image. */
  readonly pairs: readonly {
    readonly image: string;
    readonly other: string;
    readonly by: readonly [string, string];
    readonly same: number;
    readonly miou: number | null;
  }[];
  readonly same: number | null;
  readonly miou: number | null;
  /** IoU of each word. */
  readonly words: Readonly<Record<string, number | null>>;
}

/** What people did. */
interface Work {
  readonly people: readonly {
    readonly person: string;
    readonly done: number;
    readonly actions: number;
    readonly seconds: number;
    /** Copies of accepted images that are done, and how well they agree with those; null: there are none. */
    readonly gold: number;
    readonly miou: number | null;
    readonly same: number | null;
  }[];
  /** Images that can't be used or compared, a line each. */
  readonly problems: readonly string[];
}

/** Narrows the strip to the images of a person; it isn't there while nobody has any. */
export function PersonFilter({ session }: { session: Session }) {
  const { items, listing } = session;
  const people = [...new Set(items.value.flatMap(({ summary }) => summary.value.person ?? []))].sort();
  if (!people.length) return null;
  const { person } = listing.wanted.value;
  return (
    <Select
      label="Person"
      options={[["", "Anybody"], ["-", "Nobody's"], ...people.map((name) => [`+${name}`, name] as const)]}
      value={person === null ? "" : person === "" ? "-" : `+${person}`}
      onChange={(value) => listing.look({ person: value === "" ? null : value.slice(1) })}
    />
  );
}

/** How many images each person has, and how many of them are done; nobody is "". */
function counts({ items }: Session): (readonly [string, { images: number; done: number }])[] {
  const found = new Map<string, { images: number; done: number }>();
  for (const { summary, isDone } of items.value) {
    const person = summary.value.person ?? "";
    const { images, done } = found.get(person) ?? { images: 0, done: 0 };
    found.set(person, { images: images + 1, done: done + Number(isDone.value) });
  }
  return [...found].sort(([one], [other]) => one.localeCompare(other));
}

export function PeopleDialog({ page, onClose }: { page: Page; onClose: () => void }) {
  const { session } = page,
    { api } = page.served!;
  const [problem, setProblem] = useState<string | null>(null);
  const [found, setFound] = useState<Agreement | null>(null);
  const [work, setWork] = useState<Work | null>(null);
  /** Does something once the service has all changes. */
  const attempt = async (act: () => Promise<unknown>) => {
    setProblem(null);
    try {
      await session.sent();
      await act();
    } catch (failure) {
      setProblem(sentence(failure));
    }
  };
  return (
    <Dialog title="People" onClose={onClose}>
      <Table
        label="People"
        head={["Person", "Images", "Done"]}
        rows={counts(session).map(([name, { images, done }]) => [
          <Button text={name || "nobody"} kind="link" title="List these images" onClick={() => (session.listing.look({ person: name }), onClose())} />,
          ...[images, done],
        ])}
      />
      {session.store.may("administer") && <AssignForm page={page} attempt={attempt} />}
      {session.store.may("administer") && (
        <Button text="Time and gold scores" onClick={() => attempt(async () => setWork(await api.json("GET", "/people")))} />
      )}
      <Button text="Compare two people" onClick={() => attempt(async () => setFound(await api.json("GET", "/agreement")))} />
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      {work && <WorkTable work={work} />}
      {found && <AgreementTable found={found} api={api} />}
    </Dialog>
  );
}

interface AssignFormProps {
  page: Page;
  attempt: (act: () => Promise<unknown>) => void;
}

/** Deals the images that are found out to people, in turn. */
function AssignForm({ page: { served, session }, attempt }: AssignFormProps) {
  const [isCopy, setCopy] = useState(false);
  const { matching } = session.listing;
  const send = (text: string) => {
    const people = text.split(",").map((name) => name.trim()).filter(Boolean);
    attempt(() => served!.api.json("POST", "/assigned", { body: { images: matching.map(({ id }) => id), people, copies: isCopy } }));
  };
  return (
    <TextForm
      label={`Who labels the ${plural(matching.length, "listed image")}, in turn`}
      submit="Assign"
      field={{ type: "text", placeholder: "anna, ben; empty: nobody" }}
      onSubmit={send}
    >
      <Check isChecked={isCopy} onChange={setCopy}>
        As copies without labels, to compare two people
      </Check>
    </TextForm>
  );
}

function WorkTable({ work: { people, problems } }: { work: Work }) {
  return (
    <>
      <p class="help">
        Time between two actions of a person counts up to two minutes. Gold images are accepted ones: whoever labels a copy of
        them is compared with the accepted labels.
      </p>
      <Table
        label="What people did"
        head={["Person", "Done", "Actions", "Minutes", "Gold images", "Same pixels", "IoU"]}
        rows={people.map(({ person, done, actions, seconds, gold, same, miou }) => [
          person,
          ...[done, actions, Math.round(seconds / 60), gold, share(same), share(miou)],
        ])}
      />
      {problems.map((problem) => (
        <p class="error" key={problem}>
          {problem}
        </p>
      ))}
    </>
  );
}

function AgreementTable({ found: { pairs, words, miou, same }, api }: { found: Agreement; api: ProjectApi }) {
  const [copy, setCopy] = useState<string | null>(null);
  return (
    <>
      <p>
        {plural(pairs.length, "image")}: {share(same)} of the pixels have the same word; mean IoU {share(miou)}.
      </p>
      <Table label="IoU of each word" rows={Object.entries(words).map(([name, iou]) => [firstName(name), share(iou)])} />
      <Table
        label="Images of two people"
        rows={pairs.map(({ image, other, by, same: equal }) => [
          <Button text={image} kind="link" title="Show where they differ" onClick={() => setCopy(other)} />,
          ...[by.join(", "), share(equal)],
        ])}
      />
      {copy !== null && <Differences copy={copy} api={api} />}
    </>
  );
}

/** The photograph in gray, with the pixels where a copy and its original differ in red. */
function Differences({ copy, api }: { copy: string; api: ProjectApi }) {
  const address = useAddress(() => api.fileOf(copy, "differences"), copy);
  return address && <img class="differences" src={address} alt={`Where the labels of ${copy} differ, in red`} />;
}

function share(value: number | null): string {
  return value === null ? "–" : percent(value);
}
