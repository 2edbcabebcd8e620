/** Asks for the word of a region. */

import type { Point } from "../../../labels/runs";
import { firstName } from "../../../labels/synonyms";
import { splitWords, withWords } from "../../../words/list";
import { Dialog } from "../../dialog";
import type { Page } from "../../page";
import { WordList } from "../../word_list";
import { toStage } from "../view";
import { choiceOf, optionsOf } from "../word_options";
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
  const { words } = session.settings;
  const has = region.word && firstName(region.word);
  const known = words.value.map((word) => firstName(word).toLowerCase());
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
      <WordList
        label="Find a word, or type another"
        options={optionsOf(session.settings, has, has === null)}
        current={has}
        addition={(text) => (known.includes(text.toLowerCase()) ? null : `Add “${text}”`)}
        onChoose={(key) => tool.give(choiceOf(key))}
        onKeep={() => tool.leave()}
        onAdd={(text) => {
          words.value = withWords(words.value, splitWords(text)).words;
          tool.give(splitWords(text).map(firstName)[0]);
        }}
      />
    </Dialog>
  );
}
