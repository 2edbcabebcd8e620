/** Labels as COCO's annotations: one for each object; of words without objects, one for each that is in an image. */

import { outlines, type Outline } from "../labels/contours";
import { NONE, type Labeling } from "../labels/labeling";
import { objectMap } from "../labels/objects";
import { compressedCounts } from "../labels/rle";
import type { Box, Size } from "../labels/runs";
import { firstName } from "../labels/synonyms";

/** How COCO's files say where something is. */
export type Shape = "rle" | "polygons";

export interface Labeled {
  /** File name of the image. */
  readonly name: string;
  readonly labeling: Labeling;
}

/** A COCO file about some images; categories are the words of all of them. */
export function coco(images: readonly Labeled[], shape: Shape): string {
  const words = [...new Set(images.flatMap(({ labeling }) => labeling.words.map(firstName)))];
  const annotations = images.flatMap(({ labeling }, image) =>
    masks(labeling, shape).map(({ label, ...mask }) => ({
      image_id: image + 1,
      category_id: words.indexOf(firstName(labeling.words[label])) + 1,
      ...mask,
    })),
  );
  return `${JSON.stringify({
    images: images.map(({ name, labeling: { width, height } }, at) => ({
      id: at + 1,
      file_name: name,
      width,
      height,
    })),
    categories: words.map((name, at) => ({ id: at + 1, name })),
    annotations: annotations.map((annotation, at) => ({ id: at + 1, ...annotation })),
  })}\n`;
}

/** The masks of an image, word by word. */
function masks(labeling: Labeling, shape: Shape) {
  const { labels, width, height } = labeling;
  const numbers = objectMap(labeling);
  const counted = new Set<number>();
  numbers?.forEach((number, at) => number && counted.add(labels[at]));
  // pixels of a word with objects that are in none are left to a mask of their own
  const rest = counted.size ? labels.map((label, at) => (numbers![at] ? NONE : label)) : labels;
  const ofWords = [...extents(rest, labeling)].map(([label, extent]) => {
    const isCrowd = counted.has(label);
    // COCO's crowds, of which nobody says how many there are, have no polygons
    const as = isCrowd ? "rle" : shape;
    return { label, ...extent, iscrowd: Number(isCrowd), of: rest, value: label, as } as const;
  });
  const ofObjects = [...(numbers ? extents(numbers, labeling, 0) : [])].map(([number, extent]) => {
    const label = labeling.objectLabel(number);
    return { label, ...extent, iscrowd: 0, of: numbers!, value: number, as: shape } as const;
  });
  const borders = new Map<Uint16Array, Outline[]>();
  const outlined = (of: Uint16Array) => {
    if (!borders.has(of)) borders.set(of, outlines(of, labeling, of === numbers ? 0 : NONE));
    return borders.get(of)!;
  };
  return [...ofWords, ...ofObjects]
    .sort((one, other) => one.label - other.label || one.iscrowd - other.iscrowd)
    .map(({ label, area, box, iscrowd, of, value, as }) => ({
      label,
      area,
      bbox: [box.left, box.top, box.right - box.left, box.bottom - box.top],
      iscrowd,
      segmentation:
        as === "polygons"
          ? outlined(of)
              .filter((border) => border.label === value)
              .map(flat)
          : { size: [height, width], counts: compressedCounts(of, labeling, value, box) },
    }));
}

/** The pixels of each value, and the rectangle around them. */
function extents(
  values: Uint16Array,
  { width, height }: Size,
  skipped = NONE,
): Map<number, { area: number; box: Box }> {
  const found = new Map<number, { area: number; box: { -readonly [side in keyof Box]: Box[side] } }>();
  for (let y = 0; y < height; y++) {
    for (let at = y * width, end = at + width; at < end;) {
      const value = values[at],
        start = at++;
      while (at < end && values[at] === value) at++;
      if (value === skipped) continue;
      const left = start - y * width,
        right = left + at - start;
      const extent = found.get(value);
      if (!extent) {
        found.set(value, { area: at - start, box: { left, top: y, right, bottom: y + 1 } });
        continue;
      }
      extent.area += at - start;
      extent.box.left = Math.min(extent.box.left, left);
      extent.box.right = Math.max(extent.box.right, right);
      extent.box.bottom = y + 1;
    }
  }
  return found;
}

function flat({ points }: Outline): number[] {
  return points.flatMap(({ x, y }) => [rounded(x), rounded(y)]);
}

function rounded(value: number): number {
  return Math.round(10 * value) / 10;
}
