/** Labels as COCO's annotations: one for each word that is in an image. */

import { outlines, type Outline } from "../labels/contours";
import { NONE, type Labeling } from "../labels/labeling";
import { compressedCounts } from "../labels/rle";
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
  const annotations = images.flatMap(({ labeling }, image) => {
    const borders = shape === "polygons" ? outlines(labeling.labels, labeling, NONE) : [];
    return labeling.words.flatMap((word, label) => {
      const mask = extent(labeling, label);
      if (!mask) return [];
      const { width, height, labels } = labeling;
      const segmentation = borders.length
        ? borders.filter((border) => border.label === label).map(flat)
        : { size: [height, width], counts: compressedCounts(labels, width, height, label) };
      return [
        { image_id: image + 1, category_id: words.indexOf(firstName(word)) + 1, ...mask, iscrowd: 0, segmentation },
      ];
    });
  });
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
