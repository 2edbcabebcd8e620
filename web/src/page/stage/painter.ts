/** Draws the stage: the image, its labels, names, and what is being painted. */

import { drawNames } from "../../imaging/names";
import type { NamePlace } from "../../labels/name_places";
import type { Box, Point, Runs, Size } from "../../labels/runs";
import type { Layers } from "./layers";
import { toImage, toStage, type View } from "./view";

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
  /** Radius of the brush [px of the image]; 0: no brush. */
  readonly radius: number;
  /** Corners of a polygon that isn't closed yet. */
  readonly corners: readonly Point[];
  /** A region that is about to get another word. */
  readonly region: Runs | null;
}

type Context = CanvasRenderingContext2D;

/** @param density pixels of the canvas for each CSS pixel. */
export function draw(context: Context, scene: Scene, density: number): void {
  const { image, layers, view, stage, divider } = scene;
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
  if (layers) drawLabels(context, scene, layers, frame);
  if (scene.region) drawRegion(context, scene, scene.region);
  context.restore();
  if (scene.corners.length) drawPolygon(context, scene);
  if (scene.cursor) drawCursor(context, scene, scene.cursor);
}

function drawLabels(
  context: Context,
  scene: Scene,
  layers: Layers,
  frame: readonly [number, number, number, number],
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
  else drawEdges(context, layers.edges(visible(scene, layers)), scene, layers);
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
function drawEdges(context: Context, edges: readonly number[], { image, view }: Scene, { borders }: Layers): void {
  const across = (view.scale * image.width) / borders.width,
    down = (view.scale * image.height) / borders.height;
  outlined(context, () => {
    for (let at = 0; at < edges.length; at += 4) {
      context.moveTo(view.x + edges[at] * across, view.y + edges[at + 1] * down);
      context.lineTo(view.x + edges[at + 2] * across, view.y + edges[at + 3] * down);
    }
  }, 1);
}

function drawRegion(context: Context, { image, view }: Scene, runs: Runs): void {
  context.fillStyle = "rgb(255 255 255 / 55%)";
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

function drawPolygon(context: Context, { corners, cursor, view }: Scene): void {
  const places = [...corners, ...(cursor ? [cursor] : [])].map((corner) => toStage(view, corner));
  outlined(context, () => {
    for (const [at, { x, y }] of places.entries())
      if (at) context.lineTo(x, y);
      else context.moveTo(x, y);
  });
  for (const corner of corners) {
    const { x, y } = toStage(view, corner);
    outlined(context, () => context.arc(x, y, corner === corners[0] ? 6 : 4, 0, 2 * Math.PI));
  }
}

function drawCursor(context: Context, { radius, view }: Scene, cursor: Point): void {
  const { x, y } = toStage(view, cursor);
  outlined(context, () => context.arc(x, y, radius ? Math.max(2, radius * view.scale) : 4, 0, 2 * Math.PI));
}

/** A line that is seen on any ground. */
function outlined(context: Context, path: () => void, width = 2): void {
  context.beginPath();
  path();
  context.lineWidth = 2 * width;
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.stroke();
  context.lineWidth = width;
  context.strokeStyle = "#fff";
  context.stroke();
}
