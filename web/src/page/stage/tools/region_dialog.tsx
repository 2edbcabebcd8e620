/** Asks for the word of a region. */

import { useState } from "preact/hooks";

import { css } from "../../../imaging/palette";
import type { Point } from "../../../labels/runs";
import { firstName } from "../../../labels/synonyms";
import { colorOf } from "../../../project/words";
import { splitWords, withWords } from "../../../words/list";
import { Dialog } from "../../dialog";
import type { Page } from "../../page";
import { toStage } from "../view";
import type { PickedRegion, RegionTool } from "./region";

/** Width of the dialog beside a click, and its distance from it [CSS px]. */
const WIDTH = 300,
  APART = 24;

export interface RegionDialogProps {
  page: Page;
  tool: RegionTool;
  region: PickedRegion;
  /** Corner of the stage [px of the window]. */
  corner: Point;
}

export function RegionDialog({ page: { control, session }, tool, region, corner }: RegionDialogProps) {
  const { words, vocabulary } = session.settings;
  const [text, setText] = useState("");
  const wanted = text.trim().toLowerCase();
  const has = region.word && firstName(region.word);
  const known = words.value.map(firstName);
  const matching = known.filter((name) => name !== has && name.toLowerCase().includes(wanted));
  const isNew = wanted !== "" && !known.some((name) => name.toLowerCase() === wanted);
  const add = () => {
    words.value = withWords(words.value, splitWords(text)).words;
    tool.give(splitWords(text).map(firstName)[0]);
  };

  const { x, y } = toStage(control.view.value, region.at);
  const at = {
    x: Math.max(
      0,
      corner.x + x + APART + WIDTH > innerWidth ? corner.x + x - APART - WIDTH : corner.x + x + APART,
    ),
    y: Math.max(0, corner.y + y - 2 * APART),
  };

  return (
    <Dialog
      title={has === null ? "Give this region a word" : `Instead of “${has}”`}
      at={at}
      onClose={() => tool.leave()}
    >
      <form
        class="column choices"
        onSubmit={(event) => {
          event.preventDefault();
          if (matching.length && wanted) tool.give(matching[0]);
          else if (isNew) add();
          else if (wanted) tool.leave();
        }}
      >
        <input
          type="text"
          aria-label="Find a word, or type another"
          placeholder="Find a word, or type another"
          autocapitalize="none"
          // a phone's keyboard would cover the words
          autofocus={matchMedia("(pointer: fine)").matches}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
        />
        <div class="list">
          {matching.map((name) => (
            <button key={name} type="button" onClick={() => tool.give(name)}>
              <span class="swatch" style={{ background: css(colorOf(vocabulary.value, name)) }} />
              {name}
            </button>
          ))}
          {isNew && (
            <button type="button" onClick={add}>
              Add “{text.trim()}”
            </button>
          )}
          {has !== null && (
            <button type="button" onClick={() => tool.give(null)}>
              <span class="swatch none" />
              no word
            </button>
          )}
          <button type="button" onClick={() => tool.give(undefined)}>
            as the model found it
          </button>
        </div>
      </form>
    </Dialog>
  );
}
