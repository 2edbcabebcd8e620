/** Labels as COCO's annotations: one for each object; of words without objects, one for each that is in an image. */

import { outlines, type Outline } from "../labels/contours";
import { NONE, type Labeling } from "../labels/labeling";
import { objectMap } from "../labels/objects";
import { compressedCounts } from "../labels/rle";
import type { Box, Size } from "../labels/runs";
import { firstName } from "../labels/synonyms";

/** How COCO's files say where something is. */
export type Shape = "rle" | "polygons";

/** A COCO file about some images, which come one after the other; a category's id is its word's, counted from 1. */
export class Coco {
  private readonly images: unknown[] = [];
  private readonly annotations: unknown[] = [];
  private readonly categories = new Map<number, string>();

  constructor(private readonly shape: Shape) {}

  /** @param name file name of the image. */
  add(name: string, labeling: Labeling): void {
    const { words, ids, width, height } = labeling;
    const image = this.images.length + 1;
    this.images.push({ id: image, file_name: name, width, height });
    for (const [label, word] of words.entries()) this.categories.set(ids[label] + 1, firstName(word));
    for (const { label, ...mask } of masks(labeling, this.shape))
      this.annotations.push({
        id: this.annotations.length + 1,
        image_id: image,
        category_id: ids[label] + 1,
        ...mask,
      });
  }

  text(): string {
    const categories = [...this.categories].sort(([one], [other]) => one - other).map(([id, name]) => ({ id, name }));
    return `${JSON.stringify({ images: this.images, categories, annotations: this.annotations })}\n`;
  }
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
