/** Asks for the word of a region. */

import type { Choice } from "../../../labels/edits";
import type { Point, Runs } from "../../../labels/runs";
import { firstName } from "../../../labels/synonyms";
import { splitWords, withWords } from "../../../words/list";
import { Dialog } from "../../dialog";
import { WordList } from "../../word_list";
import { toStage } from "../view";
import { choiceOf, optionsOf } from "../word_options";
import type { Workbench } from "../workbench";

/** Width of the dialog beside a click, and its distance from it [CSS px]. */
const WIDTH = 300,
  APART = 24;

/** A region that is about to get another word. */
export interface PickedRegion {
  readonly runs: Runs;
  /** The word that it has; null: none. */
  readonly word: string | null;
  /** Where it was clicked [px of the image]. */
  readonly at: Point;
}

export interface RegionDialogProps {
  work: Workbench;
  region: PickedRegion;
  /** Corner of the stage [px of the window]. */
  corner: Point;
  onGive: (choice: Choice) => void;
  onClose: () => void;
}

export function RegionDialog({ work: { session, view }, region, corner, onGive, onClose }: RegionDialogProps) {
  const { words } = session.settings;
  const has = region.word && firstName(region.word);
  const known = words.value.map((word) => firstName(word).toLowerCase());
  const { x, y } = toStage(view.value, region.at);
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
      onClose={onClose}
    >
      <WordList
        label="Find a word, or type another"
        options={optionsOf(session.settings, has, has === null)}
        current={has}
        addition={(text) => (known.includes(text.toLowerCase()) ? null : `Add “${text}”`)}
        onChoose={(key) => onGive(choiceOf(key))}
        onKeep={onClose}
        onAdd={(text) => {
          words.value = withWords(words.value, splitWords(text)).words;
          onGive(splitWords(text).map(firstName)[0]);
        }}
      />
    </Dialog>
  );
}
