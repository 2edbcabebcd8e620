/** Labels as COCO's annotations: one for each word that is in an image. */

import { outlines, type Outline } from "../labels/contours";
import { NONE, type Labeling } from "../labels/labeling";
import { compressedCounts } from "../labels/rle";
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
    const { words, ids, width, height, labels } = labeling;
    const image = this.images.length + 1;
    this.images.push({ id: image, file_name: name, width, height });
    const borders = this.shape === "polygons" ? outlines(labels, labeling, NONE) : [];
    for (const [label, word] of words.entries()) {
      const category = ids[label] + 1;
      this.categories.set(category, firstName(word));
      const mask = extent(labeling, label);
      if (!mask) continue;
      const segmentation = borders.length
        ? borders.filter((border) => border.label === label).map(flat)
        : { size: [height, width], counts: compressedCounts(labels, width, height, label) };
      const id = this.annotations.length + 1;
      this.annotations.push({ id, image_id: image, category_id: category, ...mask, iscrowd: 0, segmentation });
    }
  }

  text(): string {
    const categories = [...this.categories].sort(([one], [other]) => one - other).map(([id, name]) => ({ id, name }));
    return `${JSON.stringify({ images: this.images, categories, annotations: this.annotations })}\n`;
  }
}

/** The pixels of a label, and the rectangle around them; null: there are none. */
function extent({ labels, width, height }: Labeling, label: number): { area: number; bbox: number[] } | null {
  let [area, left, top, right, bottom] = [0, width, height, -1, -1];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (labels[at] !== label) continue;
      area++;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = y;
    }
  }
  return area ? { area, bbox: [left, top, right - left + 1, bottom - top + 1] } : null;
}

function flat({ points }: Outline): number[] {
  return points.flatMap(({ x, y }) => [rounded(x), rounded(y)]);
}

function rounded(value: number): number {
  return Math.round(10 * value) / 10;
}
