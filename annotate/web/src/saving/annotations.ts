/** Labels as COCO's annotations, one for each object or word. */

import { extents } from "../labels/connected";
import { type Outline, outlines } from "../labels/contours";
import { type Labeling, NONE } from "../labels/labeling";
import { objectMap } from "../labels/objects";
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

  add(name: string, labeling: Labeling): this {
    const { words, width, height } = labeling;
    const image = this.images.length + 1;
    this.images.push({ id: image, file_name: name, width, height });
    for (const { id, name: word } of words) this.categories.set(id + 1, firstName(word));
    for (const { label, ...mask } of masks(labeling, this.shape))
      this.annotations.push({ id: this.annotations.length + 1, image_id: image, category_id: label + 1, ...mask });
    return this;
  }

  text(): string {
    const categories = [...this.categories].sort(([one], [other]) => one - other).map(([id, name]) => ({ id, name }));
    return `${JSON.stringify({ images: this.images, categories, annotations: this.annotations })}\n`;
  }
}

function masks(labeling: Labeling, shape: Shape) {
  const { labels, width, height } = labeling;
  const numbers = objectMap(labeling);
  const counted = new Set<number>();
  numbers?.forEach((number, at) => number && counted.add(labels[at]));
  const flat = ({ points }: Outline) => points.flatMap(({ x, y }) => [x, y].map((value) => Math.round(10 * value) / 10));
  const masksOf = (values: Uint16Array, skipped: number, labelOf: (value: number) => number) => {
    const borders = shape === "polygons" ? outlines(values, labeling, skipped) : [];
    return [...extents(values, labeling, skipped)].map(([value, { area, box }]) => {
      const label = labelOf(value);
      // what is in no object of its word is a crowd, of which nobody says how many there are, and which has no polygons
      const isCrowd = values !== numbers && counted.has(label);
      const segmentation =
        shape === "polygons" && !isCrowd
          ? borders.filter((border) => border.label === value).map(flat)
          : { size: [height, width], counts: compressedCounts(values, labeling, value, box) };
      const bbox = [box.left, box.top, box.right - box.left, box.bottom - box.top];
      return { label, area, bbox, iscrowd: Number(isCrowd), segmentation };
    });
  };
  const alone = numbers ? labels.map((label, at) => (numbers[at] ? NONE : label)) : labels;
  const ofWords = masksOf(alone, NONE, (label) => label);
  const ofObjects = numbers ? masksOf(numbers, 0, (number) => labeling.edits.ownerOf(number)!) : [];
  return [...ofWords, ...ofObjects].sort((one, other) => one.label - other.label || one.iscrowd - other.iscrowd);
}

/** The counts of the pixels with one value, all of which are in a box, as pycocotools reads them. */
export function compressedCounts(values: Uint16Array, { width, height }: Size, value: number, box: Box): string {
  const counts: number[] = [];
  let isInside = false,
    since = 0;
  const turn = (place: number) => {
    counts.push(place - since);
    isInside = !isInside;
    since = place;
  };
  for (let x = box.left; x < box.right; x++) {
    for (let y = box.top, at = y * width + x; y < box.bottom; y++, at += width)
      if ((values[at] === value) !== isInside) turn(x * height + y);
    // above, below and beside the rectangle, the value isn't
    const isNextInside = box.top === 0 && box.bottom === height && x + 1 < box.right;
    if (isInside && !isNextInside) turn(x * height + box.bottom);
  }
  if (since < width * height || !counts.length) counts.push(width * height - since);
  return compressed(counts);
}

/** Five bits a character, as differences to the count before the last one. */
function compressed(counts: readonly number[]): string {
  const bytes: string[] = [];
  for (const [at, count] of counts.entries()) {
    let rest = at > 2 ? count - counts[at - 2] : count;
    for (let isLast = false; !isLast;) {
      const bits = rest & 31;
      rest >>= 5;
      isLast = bits & 16 ? rest === -1 : rest === 0;
      bytes.push(String.fromCharCode((isLast ? bits : bits | 32) + 48));
    }
  }
  return bytes.join("");
}
