/** The word that the tools give, in the toolbar. */

import { firstName } from "../../labels/synonyms";
import { IconButton } from "../icons";
import type { Workbench } from "./workbench";

/** Values of what isn't a word. */
const FOUND = "found ",
  NOTHING = "nothing ";

export function WordChoice({ work }: { work: Workbench }) {
  const choice = work.choice.value;
  return (
    <>
      <label>
        <span class="hidden">Paint</span>
        <select
          value={choice === undefined ? FOUND : (choice ?? NOTHING)}
          onChange={({ currentTarget: { value } }) =>
            work.choose(value === FOUND ? undefined : value === NOTHING ? null : value)
          }
        >
          {work.session.settings.words.value.map(firstName).map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
          <option value={NOTHING}>no word</option>
          <option value={FOUND}>as the model found it</option>
        </select>
      </label>
      <IconButton icon="find" label="Find a word by its letters" onClick={() => (work.finding.value = true)} />
    </>
  );
}
