/** The tools, and the settings of the one that is chosen. */

import { firstName } from "../../labels/synonyms";
import type { Tool } from "../../session/settings";
import { IconButton } from "../icons";
import type { Page } from "../page";
import { RADII, type StageControl } from "./control";

const TOOLS: readonly (readonly [Tool, string])[] = [
  ["look", "Look"],
  ["region", "Give a region another word"],
  ["brush", "Brush"],
  ["polygon", "Polygon"],
];

/** What a tool without settings does. */
const HINTS: Partial<Record<Tool, string>> = {
  look: "Point at the image to read it.",
  region: "Click a region to give it another word.",
};

export function Toolbar({ page: { control, session } }: { page: Page }) {
  const { tool, divider } = control;
  const image = session.current.value;
  void [image?.painted.value, image?.finished.value];
  return (
    <div class="toolbar" role="toolbar" aria-label="Tools">
      <div class="group">
        {TOOLS.map(([name, label]) => (
          <IconButton
            key={name}
            icon={name}
            label={label}
            isPressed={tool.value === name}
            isDisabled={name !== "look" && !session.canCorrect.value}
            onClick={() => control.select(name)}
          />
        ))}
      </div>
      <div class="group">
        <IconButton icon="undo" label="Undo" isDisabled={!image?.edits.canUndo || !session.canCorrect.value} onClick={() => control.undo()} />
        <IconButton icon="redo" label="Redo" isDisabled={!image?.edits.canRedo || !session.canCorrect.value} onClick={() => control.redo()} />
      </div>
      <div class="group">
        <IconButton
          icon="compare"
          label="Compare before and after"
          isPressed={divider.value !== null}
          onClick={() => (divider.value = divider.value === null ? 0.5 : null)}
        />
      </div>
      <div class="options">
        {HINTS[tool.value] ? <span class="help">{HINTS[tool.value]}</span> : <PaintOptions control={control} />}
      </div>
    </div>
  );
}

/** Values of what isn't a word. */
const FOUND = "found ",
  NOTHING = "nothing ";

function PaintOptions({ control }: { control: StageControl }) {
  const { words, radius } = control.session.settings;
  const choice = control.choice.value;
  return (
    <>
      <label>
        <span class="hidden">Paint</span>
        <select
          value={choice === undefined ? FOUND : (choice ?? NOTHING)}
          onChange={({ currentTarget: { value } }) =>
            control.choose(value === FOUND ? undefined : value === NOTHING ? null : value)
          }
        >
          {words.value.map(firstName).map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
          <option value={NOTHING}>no word</option>
          <option value={FOUND}>as the model found it</option>
        </select>
      </label>
      {control.tool.value === "brush" ? (
        <label class="size">
          Size
          <input
            type="range"
            min={RADII.least}
            max={RADII.most}
            value={radius.value}
            onInput={(event) => (radius.value = Number(event.currentTarget.value))}
          />
        </label>
      ) : (
        <button type="button" disabled={control.corners.value.length < 3} onClick={() => control.close()}>
          Fill
        </button>
      )}
    </>
  );
}
