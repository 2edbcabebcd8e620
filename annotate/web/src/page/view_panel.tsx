/** How the result is shown, and which pixels keep their word: nothing here asks the model again. */

import { useState } from "preact/hooks";

import { Check, Toggle } from "./buttons";
import type { Page } from "./page";

export function ViewPanel({ page }: { page: Page }) {
  const { opacity, hasNames, rule } = page.session.settings;
  const [name, setName] = useState(rule.value.background ?? "background");
  const { threshold, background } = rule.value;

  return (
    <div class="column">
      <Slider label="Opacity of the colors" value={opacity.value} onChange={(value) => (opacity.value = value)} />
      <Toggle text="Names in the regions" value={hasNames} />
      <Slider
        label="Least confidence"
        value={threshold}
        onChange={(value) => (rule.value = { threshold: value, background })}
      />
      <Check
        isChecked={background !== null}
        onChange={(isChecked) =>
          (rule.value = { threshold: isChecked && !threshold ? 0.5 : threshold, background: isChecked ? name : null })
        }
      >
        Pixels below it are background
      </Check>
      {background !== null && (
        <label class="field">
          Name of the background
          <input
            type="text"
            value={name}
            onInput={({ currentTarget: { value } }) => {
              setName(value);
              if (value.trim()) page.session.nameBackground(value.trim());
            }}
          />
        </label>
      )}
    </div>
  );
}

function Slider({ label, value, onChange }: { label: string; value: number; onChange: (value: number) => void }) {
  return (
    <label class="slider">
      <span>{label}</span>
      <span class="value">{Math.round(100 * value)} %</span>
      <input
        type="range"
        min="0"
        max="100"
        value={Math.round(100 * value)}
        onInput={(event) => onChange(Number(event.currentTarget.value) / 100)}
      />
    </label>
  );
}
