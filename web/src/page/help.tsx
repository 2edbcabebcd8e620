/** What can be done, and with which keys. */

import { Dialog } from "./dialog";

const KEYS: readonly (readonly [string, string])[] = [
  ["V R B P", "look, region, brush, polygon"],
  ["Arrow keys", "move the cursor and read; with Shift, pixel by pixel"],
  ["Enter, Space", "do there what a click does"],
  ["1 to 9", "choose the word that is painted"],
  ["[ ]", "smaller or larger brush"],
  ["Backspace", "take back a corner of the polygon"],
  ["Escape", "leave the polygon"],
  ["+ − 0", "zoom in, zoom out, show everything"],
  ["N", "done with this image: lock it, and go to the next one"],
  ["Page Up, Page Down", "previous or next image"],
  ["Ctrl Z, Ctrl Y", "undo, redo: anywhere on the page"],
];

export function Help({ onClose }: { onClose: () => void }) {
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
        <dl class="keys">
          {KEYS.map(([keys, meaning]) => (
            <div key={keys}>
              <dt>{keys}</dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
      </div>
    </Dialog>
  );
}
