/** Draws the stage: the image, its labels, names, and what is being painted. */

import { drawNames, type NamePlace, type View } from "../../imaging/names";
import { type Color, css } from "../../imaging/palette";
import { borderLines, drawnPart, EDGE, EDGE_COLOR, LINE } from "../../imaging/overlay";
import type { Picture } from "../../imaging/picture";
import { type Labeling, NONE } from "../../labels/labeling";
import { type Box, type Point, type Runs, type Size, whole } from "../../labels/runs";
import type { StageControl } from "./control";
import { toImage, toStage } from "./navigation";

const NAME_SIZE = 14;

/** Size of the layers' pixels [CSS px] from which regions have thin lines between them. */
const LARGE = 3;

interface Drawn {
  readonly layers: Layers;
  readonly places: readonly NamePlace[];
  /** The name of a label; null: not written. */
  readonly names: (label: number) => string | null;
}

/**
 * @param labels null: the image has none yet, or is shown alone.
 * @param density pixels of the canvas for each CSS pixel.
 */
export function draw(
  context: CanvasRenderingContext2D,
  control: StageControl,
  image: Picture,
  labels: Drawn | null,
  density: number,
): void {
  const [view, stage] = [control.view.peek(), control.size.peek()];
  const [cursor, tool] = [control.cursor.peek(), control.tool.peek()];
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, stage.width, stage.height);
  context.imageSmoothingEnabled = view.scale < 2;
  context.imageSmoothingQuality = "medium";
  context.fillStyle = "#fff";
  const pen = new Pen(context, view, image, cursor);
  context.fillRect(...pen.frame);
  const { left, top, right, bottom } = visiblePart(pen, stage);
  const { x, y } = toStage(view, { x: left, y: top });
  const part = { x, y, width: (right - left) * view.scale, height: (bottom - top) * view.scale };
  if (right > left && bottom > top) image.draw(context, { left, top, right, bottom }, part, density);
  if (labels) drawLabels(pen, stage, labels, control.session.settings.opacity.peek());
  tool.draw?.(pen);
  const color = tool.isEditing && !tool.isReading ? control.color.peek() : null;
  if (cursor) pen.ring(cursor, tool.radius ? Math.max(2, tool.radius.peek() * view.scale) : 4, color);
}

function drawLabels(pen: Pen, stage: Size, { layers, places, names }: Drawn, opacity: number): void {
  const { context, frame, view } = pen;
  // the photograph keeps its light and shade, but loses some of its color, which would tint those of the words
  context.globalCompositeOperation = "saturation";
  context.globalAlpha = opacity;
  context.fillStyle = "#808080";
  context.fillRect(...frame);
  context.globalCompositeOperation = "source-over";
  context.imageSmoothingEnabled = false;
  const area = pen.frameOf(layers.area);
  context.drawImage(layers.colors, ...area);
  context.globalAlpha = Math.min(1, 2 * opacity);
  context.imageSmoothingEnabled = view.scale < 2;
  const { pixel } = layers;
  if (view.scale * pixel.width < LARGE) context.drawImage(layers.borders, ...area);
  else pen.segments(layers.edges(layers.inside(visiblePart(pen, stage))), layers.area, pixel);
  context.globalAlpha = 1;
  drawNames(context, places, names, view, NAME_SIZE);
}

/** What of the image is on the stage, in whole pixels. */
export function visiblePart({ image, view }: Pick<Pen, "image" | "view">, stage: Size): Box {
  const from = toImage(view, { x: 0, y: 0 }),
    to = toImage(view, { x: stage.width, y: stage.height });
  return {
    left: Math.max(0, Math.floor(from.x)),
    top: Math.max(0, Math.floor(from.y)),
    right: Math.min(image.width, Math.ceil(to.x)),
    bottom: Math.min(image.height, Math.ceil(to.y)),
  };
}

/** Longer side of the canvases [px]: of larger images, what is looked at closely has canvases of its own. */
const LONGEST = 2048;

/** Weight of the lines' dark edges, in [0, 255]. */
const EDGE_WEIGHT = 128;

/** The colors of labels and the lines between them, of a part of an image. */
export class Layers {
  readonly colors: OffscreenCanvas;
  readonly borders: OffscreenCanvas;
  private readonly size: Size;
  /** Place of each pixel's color. */
  private readonly drawn: Uint16Array;
  private labelOf: ((pixel: number) => number) | null = null;
  /** Colors as four bytes, 0 of labels that aren't shown. */
  private readonly table = new Uint32Array(NONE + 1);

  /** The size of a pixel of theirs [px of the image]. */
  readonly pixel: Size;

  constructor(
    private readonly image: Size,
    longest = LONGEST,
    readonly area: Box = whole(image),
  ) {
    const sides = [area.right - area.left, area.bottom - area.top];
    const scale = Math.min(1, longest / Math.max(...sides));
    const [width, height] = sides.map((side) => Math.max(1, Math.round(side * scale)));
    this.size = { width, height };
    this.pixel = { width: sides[0] / width, height: sides[1] / height };
    this.colors = new OffscreenCanvas(width, height);
    this.borders = new OffscreenCanvas(width, height);
    this.drawn = new Uint16Array(width * height);
  }

  /** @param colors four bytes of each label; labels without them are clear. */
  repaint(labelOf: (pixel: number) => number, colors: Iterable<readonly [number, number]>): void {
    this.labelOf = labelOf;
    this.table.fill(0);
    for (const [label, color] of colors) this.table[label] = color;
    this.look(this.area);
    this.draw(whole(this.size));
  }

  update(box: Box): void {
    const { left, top, right, bottom } = this.area;
    if (!this.labelOf || box.right <= left || box.left >= right || box.bottom <= top || box.top >= bottom) return;
    this.draw(this.look(box));
  }

  /** A rectangle of the image on the canvases, as far as they reach. */
  inside(box: Box, reach = 0): Box {
    const { area, pixel, size } = this;
    return {
      left: Math.max(0, Math.floor((box.left - area.left) / pixel.width) - reach),
      top: Math.max(0, Math.floor((box.top - area.top) / pixel.height) - reach),
      right: Math.min(size.width, Math.ceil((box.right - area.left) / pixel.width) + reach),
      bottom: Math.min(size.height, Math.ceil((box.bottom - area.top) / pixel.height) + reach),
    };
  }

  private draw({ left, top, right, bottom }: Box): void {
    const { drawn, size, table } = this;
    const width = right - left;
    const lines = borderLines(drawn, size, { left, top, right, bottom });
    const [colors, borders] = [new Uint32Array(lines.length), new Uint32Array(lines.length)];
    for (let at = 0; at < lines.length; at++) {
      const x = left + (at % width),
        y = top + Math.floor(at / width);
      colors[at] = table[drawn[y * size.width + x]];
      // no lines among words that aren't shown
      if (!lines[at] || !this.isSeen(x, y)) continue;
      if (lines[at] === EDGE && colors[at]) borders[at] = fourBytes(EDGE_COLOR, EDGE_WEIGHT);
      if (lines[at] === LINE) borders[at] = fourBytes([255, 255, 255]);
    }
    for (const [canvas, pixels] of [[this.colors, colors], [this.borders, borders]] as const)
      canvas.getContext("2d")!.putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), width), left, top);
  }

  /** The sides between pixels of other labels in a rectangle of the canvases: x, y, x, y of each. */
  edges({ left, top, right, bottom }: Box): number[] {
    const { drawn } = this;
    const { width, height } = this.size;
    const sides: number[] = [];
    for (let y = top; y < bottom; y++) {
      for (let x = left, at = y * width + left; x < right; x++, at++) {
        if (x + 1 < width && drawn[at] !== drawn[at + 1] && this.isSeen(x, y)) sides.push(x + 1, y, x + 1, y + 1);
        if (y + 1 < height && drawn[at] !== drawn[at + width] && this.isSeen(x, y)) sides.push(x, y + 1, x + 1, y + 1);
      }
    }
    return sides;
  }

  /** Find the colors' places in a rectangle of the image, and return it with what its borders reach, on the canvases. */
  private look(box: Box): Box {
    const { area, drawn, image, labelOf, pixel } = this;
    const { width } = this.size;
    const { left, top, right, bottom } = this.inside(box, 8);
    const column = (x: number) => area.left + Math.floor((x + 0.5) * pixel.width);
    const columns = Int32Array.from({ length: right - left }, (_, at) => column(left + at));
    for (let y = top; y < bottom; y++) {
      const line = (area.top + Math.floor((y + 0.5) * pixel.height)) * image.width;
      for (let at = 0; at < columns.length; at++)
        drawn[y * width + left + at] = labelOf!(line + columns[at]);
    }
    return { left, top, right, bottom };
  }

  /** Whether a pixel or one of its neighbors is shown. */
  private isSeen(x: number, y: number): boolean {
    const { drawn, table } = this;
    const { width, height } = this.size;
    const at = y * width + x;
    return Boolean(
      table[drawn[at]] ||
      (x + 1 < width && table[drawn[at + 1]]) ||
      (y + 1 < height && table[drawn[at + width]]) ||
      (x > 0 && table[drawn[at - 1]]) ||
      (y > 0 && table[drawn[at - width]]),
    );
  }
}

/** The colors of words that are shown, and of their parts. */
export function shownColors({ words, found: { parts } }: Labeling, isShown: (id: number) => boolean): [number, number][] {
  const ofWords = words.flatMap(({ id, color }): [number, number][] => (isShown(id) ? [[id, fourBytes(color)]] : []));
  const ofParts = (parts?.names ?? []).flatMap(({ object }, part): [number, number][] => {
    const owner = words.find(({ name }) => name === object);
    return !owner || isShown(owner.id) ? [[drawnPart(part), fourBytes(parts!.colors[part])]] : [];
  });
  return [...ofWords, ...ofParts];
}

export function fourBytes([red, green, blue]: readonly number[], weight = 255): number {
  return ((weight << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

export class Pen {
  constructor(
    readonly context: CanvasRenderingContext2D,
    readonly view: View,
    readonly image: Size,
    /** Where the pointer is, or the keys have moved; null: nowhere. */
    readonly cursor: Point | null,
  ) {}

  /** The rectangle of the image on the stage: left, top, width, height. */
  get frame(): readonly [number, number, number, number] {
    return this.frameOf(whole(this.image));
  }

  /** The same of a part of it. */
  frameOf({ left, top, right, bottom }: Box): readonly [number, number, number, number] {
    const { scale, x, y } = this.view;
    return [x + left * scale, y + top * scale, (right - left) * scale, (bottom - top) * scale];
  }

  /** A line that is seen on any ground. @param color null: white. */
  line(points: readonly Point[], width = 2, color: Color | null = null): void {
    this.outlined(() => {
      for (const [at, point] of points.entries()) {
        const { x, y } = toStage(this.view, point);
        if (at) this.context.lineTo(x, y);
        else this.context.moveTo(x, y);
      }
    }, width, color);
  }

  box(one: Point, other: Point): void {
    const [from, to] = [toStage(this.view, one), toStage(this.view, other)];
    this.outlined(() => this.context.rect(from.x, from.y, to.x - from.x, to.y - from.y));
  }

  /** A circle. @param radius [CSS px]. @param color null: white. */
  ring(middle: Point, radius: number, color: Color | null = null): void {
    const { x, y } = toStage(this.view, middle);
    this.outlined(() => this.context.arc(x, y, radius, 0, 2 * Math.PI), 2, color);
  }

  /** Separate thin lines, which leave pixels in sight: x, y, x, y of each, in cells of a size from a place on [px of the image]. */
  segments(lines: readonly number[], { left, top }: Pick<Box, "left" | "top"> = { left: 0, top: 0 }, cell = { width: 1, height: 1 }): void {
    const { context, view } = this;
    const across = (column: number) => view.x + view.scale * (left + cell.width * column),
      down = (row: number) => view.y + view.scale * (top + cell.height * row);
    this.outlined(() => {
      for (let at = 0; at < lines.length; at += 4) {
        context.moveTo(across(lines[at]), down(lines[at + 1]));
        context.lineTo(across(lines[at + 2]), down(lines[at + 3]));
      }
    }, 1);
  }

  /** A disk with a ring around it. @param radius [CSS px]. */
  dot(middle: Point, radius: number, color: string): void {
    const { x, y } = toStage(this.view, middle);
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.context.fillStyle = color;
    this.context.fill();
    this.ring(middle, radius);
  }

  pixels(runs: Runs, color: string): void {
    const { context, image, view } = this;
    context.fillStyle = color;
    for (let at = 0; at < runs.length; at += 2) {
      const x = runs[at] % image.width,
        y = Math.floor(runs[at] / image.width);
      const from = toStage(view, { x, y }),
        to = toStage(view, { x: x + runs[at + 1], y: y + 1 });
      // whole pixels, so that rows neither overlap nor leave gaps
      const [left, top] = [Math.round(from.x), Math.round(from.y)];
      context.fillRect(left, top, Math.round(to.x) - left, Math.round(to.y) - top);
    }
  }

  /** Draw a path in CSS pixels of the stage as a line that is seen on any ground; a color is between white edges. */
  private outlined(path: () => void, width = 2, color: Color | null = null): void {
    const { context } = this;
    context.beginPath();
    path();
    const stroke = (lineWidth: number, strokeStyle: string) => {
      Object.assign(context, { lineWidth, strokeStyle });
      context.stroke();
    };
    const white = color ? width + 2 : width;
    stroke(white + width, "rgb(0 0 0 / 70%)");
    stroke(white, "#fff");
    if (color) stroke(width, css(color));
  }
}

/** The color in which pixels show the word that they may get; null: white. */
export function veil(color: Color | null): string {
  return color ? `rgb(${color.join(" ")} / 65%)` : "rgb(255 255 255 / 50%)";
}
