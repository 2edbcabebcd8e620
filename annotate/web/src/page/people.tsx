/** Who labels what: counts, dealing images out, and how well two people agree on the same images. */

import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";

import { sentence } from "../backend";
import { firstName } from "../labels/synonyms";
import type { Agreement } from "../project/api";
import type { People } from "../session/people";
import type { Session } from "../session/session";
import { Button, Check, Select, TextForm } from "./buttons";
import { Dialog } from "./dialog";
import { type Page, percent, plural } from "./page";

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

export function PeopleDialog({ page, onClose }: { page: Page; onClose: () => void }) {
  const people = page.people!;
  const [problem, setProblem] = useState<string | null>(null);
  const [found, setFound] = useState<Agreement | null>(null);
  const attempt = async (act: () => Promise<unknown>) => {
    setProblem(null);
    try {
      await act();
    } catch (failure) {
      setProblem(sentence(failure));
    }
  };
  return (
    <Dialog title="People" onClose={onClose}>
      <table>
        <thead>
          <tr>
            <th scope="col">Person</th>
            <th scope="col">Images</th>
            <th scope="col">Done</th>
          </tr>
        </thead>
        <tbody>
          {people.counts.value.map(([name, { images, done }]) => (
            <tr key={name}>
              <th scope="row">
                <button
                  type="button"
                  class="link"
                  title="List these images"
                  onClick={() => (page.session.listing.look({ person: name }), onClose())}
                >
                  {name || "nobody"}
                </button>
              </th>
              <td>{images}</td>
              <td>{done}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {people.mayAssign && <AssignForm page={page} attempt={attempt} />}
      <Button text="Compare two people" onClick={() => attempt(async () => setFound(await people.agreement()))} />
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
      {found && <AgreementTable found={found} people={people} />}
    </Dialog>
  );
}

interface AssignFormProps {
  page: Page;
  attempt: (act: () => Promise<unknown>) => void;
}

function AssignForm({ page: { people, session }, attempt }: AssignFormProps) {
  const names = useSignal("");
  const [isCopy, setCopy] = useState(false);
  const listed = session.listing.listed.value.length;
  const send = (text: string) => {
    const chosen = text.split(",").map((name) => name.trim()).filter(Boolean);
    attempt(() => people!.assign(chosen, isCopy));
  };
  return (
    <TextForm
      label={`Who labels the ${plural(listed, "listed image")}, in turn`}
      text={names}
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

function AgreementTable({ found: { pairs, words, miou, same }, people }: { found: Agreement; people: People }) {
  const [copy, setCopy] = useState<string | null>(null);
  return (
    <>
      <p>
        {plural(pairs.length, "image")}: {share(same)} of the pixels have the same word; mean IoU {share(miou)}.
      </p>
      <div class="figures" tabIndex={0} role="region" aria-label="Agreement">
        <table>
          <tbody>
            {Object.entries(words).map(([name, iou]) => (
              <tr key={name}>
                <th scope="row">{firstName(name)}</th>
                <td>{share(iou)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <table>
          <tbody>
            {pairs.map(({ image, other, by, same: equal }) => (
              <tr key={other}>
                <th scope="row">
                  <button type="button" class="link" title="Show where they differ" onClick={() => setCopy(other)}>
                    {image}
                  </button>
                </th>
                <td>{by.join(", ")}</td>
                <td>{share(equal)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {copy !== null && <Differences key={copy} copy={copy} people={people} />}
    </>
  );
}

function Differences({ copy, people }: { copy: string; people: People }) {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    let made: string | null = null,
      isGone = false;
    people.differences(copy).then(
      (content) => isGone || setAddress((made = URL.createObjectURL(content))),
      () => {},
    );
    return () => {
      isGone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, []);
  return address && <img class="differences" src={address} alt={`Where the labels of ${copy} differ, in red`} />;
}

function share(value: number | null): string {
  return value === null ? "–" : percent(value);
}
