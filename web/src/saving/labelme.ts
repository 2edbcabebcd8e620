/** Labels as LabelMe's JSON: a polygon for each region. */

import { outlines } from "../labels/contours";
import { NONE, type Labeling } from "../labels/labeling";
import { firstName } from "../labels/synonyms";

/** Fewest pixels of a region that becomes a polygon. */
const SMALLEST = 4;

/** @param name file name of the image, which LabelMe looks for beside the JSON file. */
export function labelme(labeling: Labeling, name: string): string {
  const { labels, words, width, height } = labeling;
  const shapes = outlines(labels, labeling, NONE)
    .filter(({ points }) => extent(points.map(({ x }) => x)) * extent(points.map(({ y }) => y)) >= SMALLEST)
    .map(({ label, points }) => ({
      label: firstName(words[label]),
      points: points.map(({ x, y }) => [x, y]),
      group_id: null,
      description: "",
      shape_type: "polygon",
      flags: {},
    }));
  const content = {
    version: "5.5.0",
    flags: {},
    shapes,
    imagePath: name,
    imageData: null,
    imageHeight: height,
    imageWidth: width,
  };
  return `${JSON.stringify(content)}\n`;
}

function extent(values: readonly number[]): number {
  return (
    values.reduce((most, value) => Math.max(most, value)) - values.reduce((least, value) => Math.min(least, value))
  );
}
