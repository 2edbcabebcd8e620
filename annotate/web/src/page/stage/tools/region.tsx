/** Gives a whole region another word, or takes it away. */

import { signal } from "@preact/signals";
import { useState } from "preact/hooks";

import { sampled } from "../../../imaging/picture";
import { regionsIn, surroundings } from "../../../labels/connected";
import type { Choice } from "../../../labels/edits";
import { cellsOf, fitted, runsOfCells, type Way } from "../../../labels/fitting";
import { NONE } from "../../../labels/labeling";
import { type Box, boxOf, forRuns, grown, type Point, type Size, split } from "../../../labels/runs";
import { firstName, isSameName } from "../../../labels/synonyms";
import { entryOf } from "../../../project/words";
import { lookFor } from "../../../session/settings";
import { splitWords, withWords } from "../../../words/list";
import { Button, Select, Toggle } from "../../buttons";
import { Dialog } from "../../dialog";
import { beside, toImage, toStage } from "../navigation";
import { type Pen, veil } from "../painter";
import { type Key, type Press, Tool } from "../tool";
import { choiceOf, inOrder, optionsOf, WordList } from "../word_choice";
import type { Region } from "../workbench";
import { BoxTool } from "./box_tool";

export class RegionTool extends BoxTool {
  readonly icon = "region";
  readonly label = "Give a region another word";
  override readonly short = "Region";
  readonly key = "r";
  readonly help = "Click a region to give it another word; drag a box around several.";
  override readonly keys: readonly Key[] = [["Drag", "choose all regions in a box"]];
  override readonly pointer = "pointer";
  readonly picked = signal<PickedRegion | null>(null);
  /** Whether the word that is chosen and that of the region change places in all of the image. */
  readonly swaps = signal(false);
  /** The word that is looked at in the list, whose color the region shows; null: none. */
  readonly tried = signal<number | null>(null);
  override readonly seen = [this.picked, this.corners, this.tried];

  tap(at: Point): void {
    const region = this.work.image && this.work.regionAt(at);
    if (region) this.picked.value = { ...region, at };
  }

  grab(at: Point): boolean {
    if (!this.work.image) return false;
    this.corners.value = [at, at];
    return true;
  }

  protected boxed({ left, top, right, bottom }: Box, at: Point): void {
    const image = this.work.image!;
    const box = { left: Math.round(left), top: Math.round(top), right: Math.round(right), bottom: Math.round(bottom) };
    if (box.right <= box.left || box.bottom <= box.top) return;
    const labeling = image.labeling.value!;
    const runs = regionsIn(labeling.labels, labeling, box);
    if (runs.length) this.picked.value = { labeling, painted: image.painted.value, id: null, runs, at };
  }

  give(choice: Choice): void {
    const picked = this.picked.value,
      { image } = this.work;
    this.picked.value = null;
    this.tried.value = null;
    if (!picked || !image) return;
    const isSwap = this.swaps.value && picked.id !== null && picked.id !== NONE && typeof choice === "number";
    this.swaps.value = false;
    this.work.use(choice);
    if (isSwap) image.swap(picked.id!, choice);
    else image.paint(picked.runs, choice, "loose");
    this.work.end();
  }

  /** Move the border of the region that is picked to edges near it; false: it is too thin for that, or at edges already. */
  fit(way: Way): boolean {
    const picked = this.picked.value,
      { image } = this.work;
    if (!picked || picked.id === null || !image || image.picture.isClosed) return false;
    const { labeling, runs } = picked,
      { width } = labeling;
    const reach = Math.max(2, Math.round(REACH * Math.max(labeling.width, labeling.height)));
    const box = grown(boxOf(runs, width)!, 2 * reach, labeling);
    const scale = Math.min(1, CELLS / Math.max(box.right - box.left, box.bottom - box.top));
    const size = {
      width: Math.max(1, Math.round((box.right - box.left) * scale)),
      height: Math.max(1, Math.round((box.bottom - box.top) * scale)),
    };
    const cells = cellsOf(runs, width, box, size);
    const mask = fitted(cells, sampled(image.picture, box, size), size, way, Math.max(2, Math.round(reach * scale)));
    if (!mask) return false;
    const changed = mask.map((inside, at) => Number(inside !== cells[at]));
    const touched = split(runsOfCells(changed, width, box, size), (pixel) => labeling.labels[pixel] === picked.id);
    const before = image.painted.value;
    if (way === "grow") image.paint(this.work.yielding(touched.get(false) ?? new Int32Array()), picked.id === NONE ? null : picked.id, "loose");
    else {
      const lost = this.work.yielding(touched.get(true) ?? new Int32Array());
      const isLost = new Set<number>();
      forRuns(lost, (pixel) => isLost.add(pixel));
      for (const [id, part] of surroundings(labeling.labels, runs, labeling)) {
        const kept = split(part, (pixel) => isLost.has(pixel)).get(true);
        if (kept) image.paint(kept, id === NONE ? null : id, "loose");
      }
    }
    if (image.painted.value === before) return false;
    this.picked.value = null;
    this.work.end();
    return true;
  }

  leave(): boolean {
    const wasPicked = this.picked.value !== null || this.corners.value !== null;
    this.picked.value = null;
    this.swaps.value = false;
    this.tried.value = null;
    this.cancel();
    return wasPicked;
  }

  draw(pen: Pen): void {
    const word = this.work.session.settings.vocabulary.value.find(({ id }) => id === this.tried.value);
    if (this.picked.value) pen.pixels(this.picked.value.runs, veil(word?.color ?? null));
    if (this.corners.value) pen.box(...this.corners.value);
  }

  panel(stage: Box) {
    const picked = this.picked.value;
    return picked && <RegionDialog key={picked.runs} tool={this} region={picked} stage={stage} />;
  }
}

/** How far a border moves to an edge at most, as a share of the image's longer side. */
const REACH = 1 / 40;

/** Cells on which edges are looked for, along the longer side. */
const CELLS = 768;

interface PickedRegion extends Omit<Region, "id"> {
  /** Id of its word, 65535: none; null: it is several regions. */
  readonly id: number | null;
  /** Where it was clicked [px of the image]. */
  readonly at: Point;
}

/** @param stage where it is in the window [CSS px]. */
function RegionDialog({ tool, region, stage }: { tool: RegionTool; region: PickedRegion; stage: Box }) {
  const { session, view } = tool.work;
  const { words, vocabulary } = session.settings;
  const close = () => void tool.leave();
  const isOne = region.id !== null,
    has = region.id === null || region.id === NONE ? null : firstName(region.labeling.word(region.id).name);
  const [problem, setProblem] = useState("");
  const figures = session.current.value!.figures.value;
  const pixelsOfWord = ({ key }: { key: string }) => figures.find(({ id }) => id === Number(key))?.pixels ?? 0;
  const options = inOrder(optionsOf(session.settings, region.id, isOne && has === null), pixelsOfWord, tool.work.used);
  const fit = (way: Way) => tool.fit(way) || setProblem("Its border is at an edge already, or it is too thin.");
  const isKnown = (text: string) => words.value.some((word) => isSameName(firstName(word), text));
  const inWindow = (at: Point) => {
    const { x, y } = toStage(view.value, at);
    return { x: Math.max(stage.left, Math.min(stage.right, stage.left + x)), y: Math.max(stage.top, Math.min(stage.bottom, stage.top + y)) };
  };
  // a press on another region picks that one
  const pressBeside = ({ x, y }: Point) => {
    close();
    const at = toImage(view.value, { x: x - stage.left, y: y - stage.top });
    const isOnStage = x >= stage.left && x < stage.right && y >= stage.top && y < stage.bottom;
    if (isOnStage && tool.work.regionAt(at)?.runs !== region.runs) tool.tap(at);
  };
  const place = (size: Size) => {
    const box = boxOf(region.runs, region.labeling.width)!;
    const [from, to] = [inWindow({ x: box.left, y: box.top }), inWindow({ x: box.right, y: box.bottom })];
    const part = { left: from.x, top: from.y, right: to.x, bottom: to.y };
    return beside(part, inWindow(region.at), size, { width: innerWidth, height: innerHeight });
  };
  return (
    <Dialog title={has === null ? `Give ${isOne ? "this region" : "these regions"} a word` : `Instead of “${has}”`} place={place} onClose={close} onBeside={pressBeside}>
      <WordList
        label="Find a word, or type another"
        options={options}
        current={has}
        addition={(text) => (isKnown(text) ? null : `Add “${text}”`)}
        onChoose={(key) => tool.give(choiceOf(key))}
        onKeep={close}
        onLook={(key) => (tool.tried.value = Number(key ?? Number.NaN))}
        onAdd={(text) => {
          const [first] = splitWords(text);
          lookFor(session.settings, withWords(words.value, splitWords(text)).words);
          tool.give(first === undefined ? undefined : entryOf(vocabulary.value, first)?.id);
        }}
      />
      {has !== null && <Toggle text={`Swap: what has that word gets “${has}”, in this image`} value={tool.swaps} />}
      {isOne && (
        <div class="row">
          <Button text="Grow to edges" title="Its border moves out to edges of the image" onClick={() => fit("grow")} />
          <Button text="Shrink to edges" title="Its border moves in to edges of the image" onClick={() => fit("shrink")} />
        </div>
      )}
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
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
  override readonly short = "Eraser";
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
    if (region) pen.pixels(region.runs, veil(null));
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
