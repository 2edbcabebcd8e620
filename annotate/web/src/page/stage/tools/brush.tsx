/** Paints a word with a round brush. */

import { type Point, stroke } from "../../../labels/runs";
import type { OpenImage } from "../../../session/open_image";
import { type Key, Tool } from "../tool";
import { WordChoice } from "../word_choice";

const RADII = { least: 1, most: 200 };

export class BrushTool extends Tool {
  readonly icon = "brush";
  readonly label = "Brush";
  readonly key = "b";
  readonly help = "Drag over pixels to give them the word.";
  override readonly keys: readonly Key[] = [["[ ]", "smaller or larger brush"]];
  override readonly isReading = false;
  override readonly radius = this.work.session.settings.radius;
  /** Where the stroke began. */
  private image: OpenImage | null = null;

  grab(at: Point): boolean {
    this.image = this.work.image;
    if (!this.image) return false;
    this.drag(at, at);
    return true;
  }

  drag(from: Point, to: Point): void {
    const { image } = this.work;
    if (image && image === this.image) image.paint(stroke(from, to, this.radius.value, image.item), this.work.choice.value);
  }

  drop(): void {
    this.work.end();
  }

  cancel(): void {
    this.image?.cancel();
  }

  press({ key }: KeyboardEvent): boolean {
    if (key !== "[" && key !== "]") return false;
    const { radius } = this;
    const step = key === "]" ? 1 : -1;
    const changed = Math.round(radius.value * (step > 0 ? 1.25 : 0.8));
    const next = changed === radius.value ? changed + step : changed;
    radius.value = Math.max(RADII.least, Math.min(RADII.most, next));
    return true;
  }

  options() {
    return (
      <>
        <WordChoice work={this.work} />
        <label class="size">
          Size
          <input
            type="range"
            min={RADII.least}
            max={RADII.most}
            value={this.radius.value}
            onInput={(event) => (this.radius.value = Number(event.currentTarget.value))}
          />
        </label>
      </>
    );
  }
}
