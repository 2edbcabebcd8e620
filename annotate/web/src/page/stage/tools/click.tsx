/** Finds an object by clicks on it and beside it, or by a box, and gives it the word. */

import { computed, effect, type ReadonlySignal, signal } from "@preact/signals";

import { sentence } from "../../../backend";
import type { Click, Guess } from "../../../clicks/guess";
import type { Choice } from "../../../labels/edits";
import { type Box, commonPixels, pixelAt, pixelsOf, type Point, type Runs } from "../../../labels/runs";
import type { Clicker, Found } from "../../../onnx/clicker";
import type { Item } from "../../../session/item";
import type { OpenImage } from "../../../session/open_image";
import { Button, Toggle } from "../../buttons";
import { toStage } from "../navigation";
import { type Pen, veil } from "../painter";
import type { Key, Press } from "../tool";
import { WordChoice } from "../word_choice";
import type { Workbench } from "../workbench";
import { BoxTool } from "./box_tool";

/** Shortest side of a box [px of the image]. */
const SMALLEST = 4;

/** Radius of the mark of a click [CSS px]. */
const MARK = 5;

/** How long the first image is open before it is looked at for clicks that may come [ms]. */
const IDLE = 1500;

/** Clicks after which one that changes less than this share of the object says that more won't do. */
const STUCK = { clicks: 4, share: 0.01 };

/** Where a click would begin an object. */
interface Pointed {
  readonly item: Item;
  readonly click: Click;
}

/** A click that waits for its answer, or a box. */
type Step = { readonly click: Click } | { readonly box: Box };

export class ClickTool extends BoxTool {
  readonly icon = "click";
  readonly label = "Click an object";
  override readonly short = "Click";
  readonly key = "c";
  readonly help = "Click an object, or drag a box around it; click what is missing, and right-click what is too much.";
  override readonly keys: readonly Key[] = [
    ["Right click, Shift click", "take a place out of the object"],
    ["Drag", "begin with a box around the object"],
    ["Space", "click at the cursor"],
    ["Enter", "give the object the word"],
    ["Backspace", "take back the last click"],
  ];
  override readonly isReading = false;
  override readonly hasSecondary = true;
  private readonly found = signal<readonly Found[]>([]);
  /** A first answer to the step that waits, until a better one comes. */
  private readonly first = signal<Found | null>(null);
  private readonly waiting = signal<readonly Step[]>([]);
  private readonly removes = signal(false);
  private readonly problem = signal("");
  /** Whether all of the object was drawn before, and isn't painted over unasked. */
  private readonly isProtected = signal(false);
  /** What a click at the pointer would find at first sight; null: it isn't known yet, or no object would begin there. */
  private readonly foreseen = signal<Found | null>(null);
  private isFollowing = false;
  /** What the object gets as soon as it is found; null: nothing yet. */
  private given: { readonly choice: Choice } | null = null;
  override readonly seen = [this.found, this.first, this.waiting, this.corners, this.foreseen];
  private image: OpenImage | null = null;
  /** Ends once no click waits any more. */
  private answering: Promise<void> | undefined;
  private idle: ReturnType<typeof setTimeout> | undefined;
  /** Whether no image was looked at yet; a phone waits until the tool is chosen. */
  private isNew = matchMedia("(pointer: fine)").matches;

  constructor(
    work: Workbench,
    private readonly clicker: Clicker,
    isChosen: () => boolean,
  ) {
    super(work);
    effect(() => {
      const { image } = work;
      clearTimeout(this.idle);
      const look = () => {
        this.isNew = false;
        const { item } = image!;
        const listed = work.session.listing.listed.peek();
        const next = isChosen() ? listed[listed.indexOf(item) + 1] : undefined;
        void clicker.look(item, next).catch((error) => (this.problem.value = sentence(error)));
      };
      // the first click shall find everything ready: the network is loaded before the tool is chosen
      if (image && isChosen()) look();
      else if (image && this.isNew) this.idle = setTimeout(() => navigator.onLine && look(), IDLE);
    });
    const pointed = computed(() => {
      const { image } = work,
        at = work.cursor.value;
      const isFree = isChosen() && !this.isBegun && !this.corners.value && matchMedia("(pointer: fine)").matches;
      return isFree && image && at && pixelAt(at, image.item) !== null ? { item: image.item, click: { ...at, adds: true } } : null;
    });
    effect(() => {
      if (pointed.value) void this.follow(pointed);
      // a press that isn't dragged is a click on what is seen
      else if (!this.corners.value) this.foreseen.value = null;
    });
    effect(() => {
      // cores that label other images keep clicks waiting
      work.session.isClicking.value = this.waiting.value.length > 0;
    });
  }

  tap(at: Point, press: Press): void {
    const { image } = this.work;
    if (!image || pixelAt(at, image.item) === null) return;
    const takesOut = press.isSecondary || press.shiftKey || press.altKey;
    this.ask({ click: { x: at.x, y: at.y, adds: takesOut === this.removes.value } });
  }

  grab(at: Point, press: Press): boolean {
    if (!this.work.image || press.isSecondary || this.isBegun) return false;
    this.corners.value = [at, at];
    return true;
  }

  override drag(from: Point, to: Point): void {
    this.foreseen.value = null;
    super.drag(from, to);
  }

  protected boxed(box: Box): void {
    if (box.right - box.left >= SMALLEST && box.bottom - box.top >= SMALLEST) this.ask({ box });
  }

  press({ key }: KeyboardEvent): boolean {
    if (!this.isBegun) return false;
    if (key === "Backspace") this.takeBack();
    else if (key === "Enter") this.give(this.work.choice.value);
    else return false;
    return true;
  }

  takeBack(): boolean {
    const waiting = this.waiting.value,
      wasBegun = this.isBegun;
    this.given = null;
    if (waiting.length) this.waiting.value = waiting.slice(0, -1);
    else this.found.value = this.found.value.slice(0, -1);
    return wasBegun;
  }

  leave(): boolean {
    const wasBegun = this.isBegun || this.corners.value !== null;
    this.corners.value = null;
    this.problem.value = "";
    this.forget();
    return wasBegun;
  }

  override async finish(): Promise<void> {
    this.give(this.work.choice.value);
    if (!this.given) this.leave();
    await this.answering;
  }

  draw(pen: Pen): void {
    const last = this.first.value ?? this.found.value.at(-1) ?? this.foreseen.value;
    if (last) {
      pen.pixels(last.runs, veil(this.work.color.value));
      outline(pen, last.runs);
    }
    const corners = this.corners.value ?? boxCorners(this.waiting.value[0] ?? last?.guess);
    if (corners) pen.box(...corners);
    for (const click of this.clicks) pen.dot(click, MARK, click.adds ? "#1a9850" : "#d73027");
  }

  options() {
    return (
      <>
        <Button text="Give the word" kind="primary" reason={this.found.value.length ? null : "Click an object first"} onClick={() => this.give(this.work.choice.value)} />
        <WordChoice work={this.work} />
        <Toggle text="Take out" value={this.removes} />
        <Toggle text="Keep what was drawn" value={this.work.session.settings.keepsCorrected} />
        <Button text="Take back" reason={this.isBegun ? null : "Nothing was clicked yet"} onClick={() => this.takeBack()} />
      </>
    );
  }

  /** A pulse at each click that waits for its answer. */
  panel() {
    const view = this.work.view.value;
    return this.waiting.value.map((step, at) => {
      if (!("click" in step)) return null;
      const { x, y } = toStage(view, step.click);
      return <span key={at} class="pulse" style={{ left: `${x}px`, top: `${y}px` }} />;
    });
  }

  message() {
    if (this.isProtected.value)
      return (
        <>
          All of it was drawn or clicked before.{" "}
          <Button text="Paint over" kind="primary" onClick={() => this.give(this.work.choice.value, false)} />
        </>
      );
    return this.problem.value || (this.waiting.value.length ? "Looking ..." : this.isStuck ? "No better by clicks: draw the rest." : "");
  }

  private get isBegun(): boolean {
    return this.found.value.length > 0 || this.waiting.value.length > 0;
  }

  /** Whether the last click hardly changed the object. */
  private get isStuck(): boolean {
    const [before, last] = this.found.value.slice(-2);
    if (!last || last.guess.clicks.length < STUCK.clicks) return false;
    const pixels = pixelsOf(last.runs);
    return pixels + pixelsOf(before.runs) - 2 * commonPixels(before.runs, last.runs) < STUCK.share * pixels;
  }

  private get clicks(): readonly Click[] {
    const waiting = this.waiting.value.flatMap((step) => ("click" in step ? [step.click] : []));
    return [...(this.found.value.at(-1)?.guess.clicks ?? []), ...waiting];
  }

  /** Shows what would be found at the pointer, one place after the other, and always the newest: a click waits for one answer at most. */
  private async follow(pointed: ReadonlySignal<Pointed | null>): Promise<void> {
    if (this.isFollowing) return;
    this.isFollowing = true;
    for (let last: Pointed | null = null, next = pointed.peek(); next && next !== last; next = pointed.peek()) {
      last = next;
      // what fails here is told when it is clicked
      const found = await this.clicker.glance(next.item, next.click).catch(() => null);
      if (pointed.peek()?.item === next.item) this.foreseen.value = found;
    }
    this.isFollowing = false;
  }

  private ask(step: Step): void {
    this.problem.value = "";
    this.isProtected.value = false;
    this.image = this.work.image;
    // until there is a better answer
    if (!this.isBegun && "click" in step && step.click.adds) this.first.value = this.foreseen.value;
    this.waiting.value = [...this.waiting.value, step];
    if (this.waiting.value.length === 1) this.answering = this.answer();
  }

  private async answer(): Promise<void> {
    for (let step = this.waiting.value[0]; step; step = this.waiting.value[0]) {
      const { item } = this.image!;
      const before: Guess | null = this.found.value.at(-1)?.guess ?? null;
      let found: Found | null = null;
      try {
        found = await ("click" in step
          ? this.clicker.click(item, before, step.click, (first) => {
              if (this.waiting.value[0] === step) this.first.value = first;
            })
          : this.clicker.box(item, step.box));
      } catch (error) {
        if (this.waiting.value[0] === step) this.problem.value = sentence(error);
      }
      this.first.value = null;
      // it was taken back meanwhile, and what waits now has an answer of its own
      if (this.waiting.value[0] !== step) return;
      this.waiting.value = this.waiting.value.slice(1);
      if (found) this.found.value = [...this.found.value, found];
    }
    if (this.given) this.give(this.given.choice);
  }

  private give(choice: Choice, keeps = this.work.session.settings.keepsCorrected.value): void {
    this.given = this.waiting.value.length > 0 ? { choice } : null;
    if (this.given) return;
    const last = this.found.value.at(-1),
      { image } = this.work;
    if (!image || image !== this.image) return this.forget();
    if (!last) return;
    const runs = keeps ? this.work.yielding(last.runs) : last.runs;
    this.isProtected.value = !runs.length;
    if (!runs.length) return;
    this.forget();
    image.paint(runs, choice);
    this.work.end();
  }

  private forget(): void {
    this.found.value = [];
    this.first.value = null;
    this.waiting.value = [];
    this.given = null;
    this.isProtected.value = false;
    this.removes.value = false; // another object begins with what belongs to it
  }
}

function boxCorners(of: Step | Guess | undefined): readonly [Point, Point] | null {
  const box = of && "box" in of ? of.box : null;
  return box && [{ x: box.left, y: box.top }, { x: box.right, y: box.bottom }];
}

function outline(pen: Pen, runs: Runs): void {
  const { width } = pen.image;
  const lines: number[] = [];
  /** Where stretches above or below a line between rows begin and end. */
  const ends = new Map<number, number[]>();
  for (let at = 0; at < runs.length; at += 2) {
    const y = Math.floor(runs[at] / width),
      from = runs[at] - y * width;
    const to = from + runs[at + 1];
    lines.push(from, y, from, y + 1, to, y, to, y + 1);
    for (const line of [y, y + 1]) {
      const known = ends.get(line);
      if (known) known.push(from, to);
      else ends.set(line, [from, to]);
    }
  }
  for (const [y, places] of ends) {
    // from every second to the next, the mask is on one side of the line alone
    places.sort((one, other) => one - other);
    for (let at = 0; at < places.length; at += 2) lines.push(places[at], y, places[at + 1], y);
  }
  pen.segments(lines);
}
