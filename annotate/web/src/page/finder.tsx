/** Finds images of the strip: by file name, progress and word, and puts them in order. */

import { firstName } from "../labels/synonyms";
import { EVERYTHING, type Order, type Progress } from "../review/finding";
import type { Page } from "./page";
import { plural } from "./phrases";

/** What is chosen from, and how it is shown. */
const PROGRESS: readonly (readonly [Progress | "any", string])[] = [
    ["any", "Any state"],
    ["not labeled", "Not labeled"],
    ["labeled", "Labeled, not corrected"],
    ["corrected", "Corrected, not done"],
    ["done", "Done"],
  ],
  ORDERS: readonly (readonly [Order, string])[] = [
    ["added", "As added"],
    ["least certain", "Least certain first"],
    ["name", "By name"],
  ];

export function Finder({ page: { session } }: { page: Page }) {
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
      <Choice
        label="State"
        options={PROGRESS}
        value={wanted.progress}
        onChange={(progress) => listing.look({ progress })}
      />
      <Choice
        label="Word"
        options={[
          ["", "Any word"],
          ...settings.vocabulary.value.map(({ id, name }) => [String(id), firstName(name)] as const),
        ]}
        value={wanted.word === null ? "" : String(wanted.word)}
        onChange={(word) => listing.look({ word: word === "" ? null : Number(word) })}
      />
      <Choice label="Order" options={ORDERS} value={wanted.order} onChange={(order) => listing.look({ order })} />
      <p class="help" role="status">
        {shown < items.value.length ? `${shown} of ${plural(items.value.length, "image")}` : ""}
      </p>
      {wanted !== EVERYTHING && (
        <button type="button" class="link" onClick={() => listing.lookForAll()}>
          Show all
        </button>
      )}
    </div>
  );
}

interface ChoiceProps<Value extends string> {
  label: string;
  options: readonly (readonly [Value, string])[];
  value: Value;
  onChange: (value: Value) => void;
}

function Choice<Value extends string>({ label, options, value, onChange }: ChoiceProps<Value>) {
  return (
    <select aria-label={label} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value as Value)}>
      {options.map(([option, shown]) => (
        <option key={option} value={option}>
          {shown}
        </option>
      ))}
    </select>
  );
}
