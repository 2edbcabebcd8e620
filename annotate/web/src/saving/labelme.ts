/** Labels as LabelMe's JSON: a polygon for each region; those of one object have a group in common. */

import { outlines } from "../labels/contours";
import { NONE, type Labeling } from "../labels/labeling";
import { objectMap } from "../labels/objects";
import { firstName } from "../labels/synonyms";

/** Fewest pixels of a region that becomes a polygon. */
const SMALLEST = 4;

/** @param name file name of the image, which LabelMe looks for beside the JSON file. */
export function labelme(labeling: Labeling, name: string): string {
  const { labels, words, width, height } = labeling;
  const numbers = objectMap(labeling);
  const ofWords = numbers ? labels.map((label, at) => (numbers[at] ? NONE : label)) : labels;
  const regions = [
    ...outlines(ofWords, labeling, NONE).map(({ label, points }) => ({ label, points, group: null })),
    ...(numbers ? outlines(numbers, labeling, 0) : []).map(({ label: number, points }) => ({
      label: labeling.objectLabel(number),
      points,
      group: number,
    })),
  ];
  const shapes = regions
    .filter(({ points }) => extent(points.map(({ x }) => x)) * extent(points.map(({ y }) => y)) >= SMALLEST)
    .map(({ label, points, group }) => ({
      label: firstName(words[label]),
      points: points.map(({ x, y }) => [x, y]),
      group_id: group,
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
