/** What can be done, and with which keys. */

import { Dialog } from "./dialog";
import type { StageControl } from "./stage/control";
import { KEYS } from "./stage/keys";
import type { Key } from "./stage/tool";

export function Help({ control, onClose }: { control: StageControl; onClose: () => void }) {
  return (
    <Dialog title="Help" onClose={onClose}>
      <div class="column">
        <p>
          Every pixel gets the likeliest of your words. Correct what is wrong with the tools above the image: give a
          whole region another word, or paint with the brush or a polygon.
        </p>
        <p>
          Wheel and two fingers zoom; drag the image to move it. Images, words and corrections stay in this browser
          until you remove them.
        </p>
        <h3>Keys, while the image has the focus</h3>
        <KeyList keys={KEYS} />
        <h3>Tools</h3>
        {control.tools.map(({ key, label, help, keys }) => (
          <section key={key} class="tool-help">
            <h4>
              <kbd>{key.toUpperCase()}</kbd> {label}
            </h4>
            <p>{help}</p>
            <KeyList keys={keys} />
          </section>
        ))}
      </div>
    </Dialog>
  );
}

function KeyList({ keys }: { keys: readonly Key[] }) {
  if (!keys.length) return null;
  return (
    <dl class="keys">
      {keys.map(([key, meaning]) => (
        <div key={key}>
          <dt>{key}</dt>
          <dd>{meaning}</dd>
        </div>
      ))}
    </dl>
  );
}
