/** Draws the stage: the image, its labels, names, and what is being painted. */

import { drawNames } from "../../imaging/names";
import type { NamePlace } from "../../labels/name_places";
import type { Box, Point, Size } from "../../labels/runs";
import type { Layers } from "./layers";
import { Pen } from "./pen";
import type { Tool } from "./tool";
import { toImage, type View } from "./view";

/** Size of names on the stage [CSS px]. */
const NAME_SIZE = 14;

/** Size of the layers' pixels [CSS px] from which regions have thin lines between them. */
const LARGE = 3;

export interface Scene {
  readonly image: ImageBitmap;
  /** null: the image has no labels yet. */
  readonly layers: Layers | null;
  readonly view: View;
  readonly stage: Size;
  /** Weight of the colors, in [0, 1]. */
  readonly opacity: number;
  /** Share of the stage, from the left, that shows the image alone. */
  readonly divider: number;
  readonly places: readonly NamePlace[];
  /** By label; null: not written. */
  readonly names: readonly (string | null)[];
  /** Where the pointer is, or the keys have moved; null: nowhere. */
  readonly cursor: Point | null;
  /** The tool that is chosen. */
  readonly tool: Tool;
}

type Context = CanvasRenderingContext2D;

/** @param density pixels of the canvas for each CSS pixel. */
export function draw(context: Context, scene: Scene, density: number): void {
  const { image, layers, view, stage, divider, cursor, tool } = scene;
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, stage.width, stage.height);
  const frame = [view.x, view.y, image.width * view.scale, image.height * view.scale] as const;
  context.imageSmoothingEnabled = view.scale < 2;
  context.imageSmoothingQuality = "medium";
  context.fillStyle = "#fff";
  context.fillRect(...frame);
  context.drawImage(image, ...frame);
  context.save();
  context.beginPath();
  context.rect(divider * stage.width, 0, stage.width, stage.height);
  context.clip();
  const pen = new Pen(context, view, image, cursor);
  if (layers) drawLabels(context, scene, layers, frame, pen);
  context.restore();
  tool.draw?.(pen);
  if (cursor) pen.ring(cursor, tool.radius ? Math.max(2, tool.radius.peek() * view.scale) : 4);
}

function drawLabels(
  context: Context,
  scene: Scene,
  layers: Layers,
  frame: readonly [number, number, number, number],
  pen: Pen,
): void {
  const { image, view, opacity } = scene;
  // the photograph keeps its light and shade, but loses some of its color, which would tint those of the words
  context.globalCompositeOperation = "saturation";
  context.globalAlpha = opacity;
  context.fillStyle = "#808080";
  context.fillRect(...frame);
  context.globalCompositeOperation = "source-over";
  context.imageSmoothingEnabled = false;
  context.drawImage(layers.colors, ...frame);
  context.globalAlpha = Math.min(1, 2 * opacity);
  context.imageSmoothingEnabled = view.scale < 2;
  if ((view.scale * image.width) / layers.borders.width < LARGE) context.drawImage(layers.borders, ...frame);
  else drawEdges(pen, layers.edges(visible(scene, layers)), layers);
  context.globalAlpha = 1;
  drawNames(context, scene.places, scene.names, view, NAME_SIZE);
}

/** The rectangle of the layers that is seen. */
function visible({ image, view, stage }: Scene, { borders: { width, height } }: Layers): Box {
  const from = toImage(view, { x: 0, y: 0 }),
    to = toImage(view, { x: stage.width, y: stage.height });
  const across = width / image.width,
    down = height / image.height;
  return {
    left: Math.max(0, Math.floor(from.x * across)),
    top: Math.max(0, Math.floor(from.y * down)),
    right: Math.min(width, Math.ceil(to.x * across)),
    bottom: Math.min(height, Math.ceil(to.y * down)),
  };
}

/** Thin lines exactly between pixels, which leave them in sight. */
function drawEdges(pen: Pen, edges: readonly number[], { borders }: Layers): void {
  const { context, image, view } = pen;
  const across = (view.scale * image.width) / borders.width,
    down = (view.scale * image.height) / borders.height;
  pen.outlined(() => {
    for (let at = 0; at < edges.length; at += 4) {
      context.moveTo(view.x + edges[at] * across, view.y + edges[at + 1] * down);
      context.lineTo(view.x + edges[at + 2] * across, view.y + edges[at + 3] * down);
    }
  }, 1);
}
