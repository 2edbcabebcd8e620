/** Takes the objects of a word apart, unites and counts them. */

import { computed, signal } from "@preact/signals";

import { wordColor } from "../../../imaging/palette";
import type { Figures, Labeling } from "../../../labels/labeling";
import { cut, dissolve, divide, makeObjects, merge } from "../../../labels/objects";
import { pixelAt, type Point } from "../../../labels/runs";
import { firstName } from "../../../labels/synonyms";
import { Button, Select } from "../../buttons";
import { toStage } from "../navigation";
import { fourBytes, Layers, type Pen } from "../painter";
import { type Key, type Press, Tool } from "../tool";

export class ObjectsTool extends Tool {
  readonly icon = "objects";
  readonly label = "Separate objects";
  override readonly short = "Separate";
  readonly key = "o";
  readonly help = "Make objects of a word; click one to choose it, drag a line across objects to divide them.";
  override readonly keys: readonly Key[] = [
    ["Shift click", "choose several"],
    ["M", "unite what is chosen"],
    ["S", "divide it where it is narrow, or into its regions"],
    ["Delete", "make it no object; it keeps its word"],
  ];
  /** Numbers of what is chosen; some may be gone. */
  private readonly picked = signal<readonly number[]>([]);
  private readonly line = signal<readonly Point[]>([]);
  private readonly problem = signal("");
  /** What was drawn last, and for what. */
  private drawn: { readonly of: readonly unknown[]; readonly layers: Layers } | null = null;

  private readonly chosen = computed(() => {
    const there = new Set(this.work.session.current.value?.objects.value.map(({ number }) => number));
    return this.picked.value.filter((number) => there.has(number));
  });
  override readonly seen = [this.chosen, this.line];

  tap(at: Point, press: Press): void {
    const { image } = this.work;
    const pixel = image && pixelAt(at, image.item);
    const number = image && pixel !== null ? image.labeling.value!.object(pixel) : 0;
    const chosen = this.chosen.value;
    // fingers have no Shift
    const isMore = press.shiftKey || press.isTouch;
    this.problem.value = "";
    if (!number) this.picked.value = isMore ? chosen : [];
    else if (!isMore) this.picked.value = [number];
    else this.picked.value = chosen.includes(number) ? chosen.filter((one) => one !== number) : [...chosen, number];
  }

  grab(at: Point): boolean {
    if (!this.work.image?.objects.value.length) return false;
    this.line.value = [at];
    return true;
  }

  drag(_: Point, to: Point): void {
    this.line.value = [...this.line.value, to];
  }

  drop(): void {
    const line = this.line.value;
    this.cancel();
    if (!line.length) return;
    const chosen = this.chosen.value;
    const how = (labeling: Labeling) => cut(labeling, line, chosen.length ? chosen : null);
    this.divideBy(how, "Lead the line all across an object.");
  }

  cancel(): void {
    this.line.value = [];
  }

  leave(): boolean {
    const wasBusy = this.picked.value.length > 0 || this.line.value.length > 0;
    this.picked.value = [];
    this.problem.value = "";
    this.cancel();
    return wasBusy;
  }

  press({ key }: KeyboardEvent): boolean {
    const chosen = this.chosen.value;
    if (key.toLowerCase() === "m" && chosen.length > 1) this.unite();
    else if (key.toLowerCase() === "s" && chosen.length === 1) this.divide();
    else if ((key === "Delete" || key === "Backspace") && chosen.length) this.dissolve();
    else return false;
    return true;
  }

  draw(pen: Pen): void {
    const image = this.work.session.current.peek();
    const labeling = image?.labeling.peek();
    if (!image || !labeling) return;
    const objects = image.objects.peek();
    if (objects.length) {
      const of = [labeling, image.finished.peek(), this.chosen.peek()];
      if (!this.drawn || of.some((one, at) => one !== this.drawn!.of[at]))
        this.drawn = { of, layers: objectLayers(labeling, objects.map(({ number }) => number), this.chosen.peek()) };
      const { colors, borders } = this.drawn.layers;
      pen.context.imageSmoothingEnabled = pen.view.scale < 2;
      for (const layer of [colors, borders]) pen.context.drawImage(layer, ...pen.frame);
      for (const { number, rank, middle } of objects) writeRank(pen, rank, middle, this.chosen.peek().includes(number));
    }
    if (this.line.peek().length > 1) pen.line(this.line.peek());
  }

  options() {
    const image = this.work.session.current.value,
      labeling = image?.labeling.value;
    if (!image || !labeling) return null;
    const words = image.figures.value.filter(({ pixels }) => pixels);
    const word = words.find(({ id }) => id === this.work.choice.value) ?? words[0];
    const name = word ? firstName(word.name) : "";
    const chosen = this.chosen.value;
    return (
      <>
        <Select
          label="Word whose objects are made"
          options={words.map(({ id, name: full }) => [String(id), firstName(full)])}
          value={String(word?.id)}
          onChange={(id) => this.work.choose(Number(id))}
        />
        <Button text={`Make objects of ${name}`} reason={word ? null : "No word has pixels"} onClick={() => this.make(word)} />
        <Button text="Unite" reason={chosen.length < 2 ? "Choose two objects or more (Shift click)" : null} onClick={() => this.unite()} />
        <Button text="Divide" reason={chosen.length === 1 ? null : "Choose one object"} onClick={() => this.divide()} />
        <Button text="No object" reason={chosen.length ? null : "Choose an object"} onClick={() => this.dissolve()} />
      </>
    );
  }

  message() {
    return this.problem.value;
  }

  private make({ id, name }: Figures): void {
    const problem = `All of ${firstName(name)} that is large enough is in objects.`;
    this.change((labeling) => makeObjects(labeling, id), problem);
  }

  private unite(): void {
    const chosen = this.chosen.value;
    if (this.change((labeling) => merge(labeling, chosen), "Only objects of one word can be united."))
      this.picked.value = chosen.slice(0, 1);
  }

  private divide(): void {
    const [number] = this.chosen.value;
    this.divideBy((labeling) => divide(labeling, number), "It isn't narrow anywhere: drag a line across it.");
  }

  private dissolve(): void {
    const chosen = this.chosen.value;
    this.change((labeling) => dissolve(labeling, chosen), "");
  }

  private divideBy(how: (labeling: Labeling) => readonly number[], problem: string): void {
    let pieces: readonly number[] = [];
    if (this.change((labeling) => (pieces = how(labeling)), problem)) this.picked.value = pieces;
  }

  /** Change objects as one step of the history. @param problem what is told if nothing changes. */
  private change(how: (labeling: Labeling) => void, problem: string): boolean {
    const { image } = this.work;
    const isChanged = image?.change(how) ?? false;
    this.problem.value = isChanged ? "" : problem;
    if (image && isChanged) this.work.session.keepEdits(image);
    return isChanged;
  }
}

function writeRank({ context, view }: Pen, rank: number, middle: Point, isChosen: boolean): void {
  const { x, y } = toStage(view, middle);
  context.font = `bold ${isChosen ? 20 : 15}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 4;
  context.strokeStyle = "rgb(0 0 0 / 80%)";
  context.strokeText(String(rank), x, y);
  context.fillStyle = "#fff";
  context.fillText(String(rank), x, y);
}

/** Longer side of the canvas [px]. */
const LONGEST = 1024;

/** Weights of objects that are chosen and of others, in [0, 255]. */
const CHOSEN = 190,
  OTHER = 105;

function objectLayers(labeling: Labeling, numbers: readonly number[], chosen: readonly number[]): Layers {
  const layers = new Layers(labeling, LONGEST);
  const weightOf = (number: number) => (chosen.includes(number) ? CHOSEN : OTHER);
  const colors = numbers.map((number) => [number, fourBytes(wordColor(number), weightOf(number))] as const);
  layers.repaint((pixel) => labeling.object(pixel), colors);
  return layers;
}
