/** Gives a whole region another word, or takes it away. */

import { signal } from "@preact/signals";

import { surroundings } from "../../../labels/connected";
import type { Choice } from "../../../labels/edits";
import { NONE } from "../../../labels/labeling";
import type { Point } from "../../../labels/runs";
import { firstName, isSameName } from "../../../labels/synonyms";
import { entryOf } from "../../../project/words";
import { lookFor } from "../../../session/settings";
import { splitWords, withWords } from "../../../words/list";
import { Select } from "../../buttons";
import { Dialog } from "../../dialog";
import { toStage } from "../navigation";
import type { Pen } from "../painter";
import { type Key, type Press, Tool } from "../tool";
import { choiceOf, optionsOf, WordList } from "../word_choice";
import type { Region } from "../workbench";

export class RegionTool extends Tool {
  readonly icon = "region";
  readonly label = "Give a region another word";
  readonly key = "r";
  readonly help = "Click a region to give it another word.";
  override readonly pointer = "pointer";
  readonly picked = signal<PickedRegion | null>(null);
  override readonly seen = [this.picked];

  tap(at: Point): void {
    const region = this.work.image && this.work.regionAt(at);
    if (region) this.picked.value = { ...region, at };
  }

  give(choice: Choice): void {
    const picked = this.picked.value;
    this.picked.value = null;
    if (!picked) return;
    this.work.image?.paint(picked.runs, choice, "loose");
    this.work.end();
  }

  leave(): boolean {
    const wasPicked = this.picked.value !== null;
    this.picked.value = null;
    return wasPicked;
  }

  draw(pen: Pen): void {
    if (this.picked.value) pen.pixels(this.picked.value.runs, "rgb(255 255 255 / 55%)");
  }

  panel(corner: Point) {
    return this.picked.value && <RegionDialog tool={this} region={this.picked.value} corner={corner} />;
  }
}

/** Width of the dialog beside a click, and its distance from it [CSS px]. */
const WIDTH = 300,
  APART = 24;

interface PickedRegion extends Region {
  /** Where it was clicked [px of the image]. */
  readonly at: Point;
}

/** @param corner that of the stage [px of the window]. */
function RegionDialog({ tool, region, corner }: { tool: RegionTool; region: PickedRegion; corner: Point }) {
  const { session, view } = tool.work;
  const { words, vocabulary } = session.settings;
  const close = () => void tool.leave();
  const has = region.id === NONE ? null : firstName(region.labeling.word(region.id).name);
  const isKnown = (text: string) => words.value.some((word) => isSameName(firstName(word), text));
  const { x, y } = toStage(view.value, region.at);
  const at = {
    x: Math.max(0, corner.x + x + APART + WIDTH > innerWidth ? corner.x + x - APART - WIDTH : corner.x + x + APART),
    y: Math.max(0, corner.y + y - 2 * APART),
  };
  return (
    <Dialog title={has === null ? "Give this region a word" : `Instead of “${has}”`} at={at} onClose={close}>
      <WordList
        label="Find a word, or type another"
        options={optionsOf(session.settings, region.id, has === null)}
        current={has}
        addition={(text) => (isKnown(text) ? null : `Add “${text}”`)}
        onChoose={(key) => tool.give(choiceOf(key))}
        onKeep={close}
        onAdd={(text) => {
          const [first] = splitWords(text);
          lookFor(session.settings, withWords(words.value, splitWords(text)).words);
          tool.give(first === undefined ? undefined : entryOf(vocabulary.value, first)?.id);
        }}
      />
    </Dialog>
  );
}

/** What comes in place of a region. */
const WAYS = [
  ["around", "the words around it"],
  ["found", "what the model found"],
  ["nothing", "no word"],
] as const;

export class EraserTool extends Tool {
  readonly icon = "eraser";
  readonly label = "Magic eraser";
  readonly key = "e";
  readonly help =
    "Click a region to take it away: the words around it grow into its place, each pixel gets the nearest one.";
  override readonly keys: readonly Key[] = [["Shift with a click", "what the model found comes back instead"]];
  override readonly pointer = "pointer";
  readonly way = signal<(typeof WAYS)[number][0]>("around");

  tap(at: Point, { shiftKey }: Press): void {
    const { image } = this.work;
    const region = image && this.work.regionAt(at);
    if (!region) return;
    const { labeling, runs } = region;
    const way = shiftKey ? "found" : this.way.value;
    if (way !== "around") image.paint(runs, way === "found" ? undefined : null, "loose");
    else
      for (const [id, part] of surroundings(labeling.labels, runs, labeling))
        image.paint(part, id === NONE ? null : id, "loose");
    this.work.end();
  }

  draw(pen: Pen): void {
    const region = this.work.image && this.work.regionAt(pen.cursor);
    if (region) pen.pixels(region.runs, "rgb(255 255 255 / 45%)");
  }

  options() {
    return (
      <label class="row">
        <span>Fill with</span>
        <Select label="Fill with" options={WAYS} value={this.way.value} onChange={(way) => (this.way.value = way)} />
      </label>
    );
  }
}
