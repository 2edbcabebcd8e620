/** The contents of `photo.json`, with the same fields as `Segmentation.report` of segvoc. */

import { figures, partFigures, type Figures, type Labeling } from "../labels/labeling";
import { objectFigures } from "../labels/objects";

/** Digits of shares and of confidences, which are known as 8 bits. */
const DIGITS = { fraction: 6, confidence: 3 };

export function report(labeling: Labeling, image: string): string {
  const { found, width, height } = labeling;
  const classes = figures(labeling);
  const objects = objectFigures(labeling);
  const { parts } = found;
  const content = {
    image,
    width,
    height,
    model: found.model,
    dtype: found.dtype,
    classes: classes.map((entry) => ({
      id: labeling.ids[entry.id],
      name: entry.name,
      color: labeling.colors[entry.id],
      ...numbers(entry),
      ...(objects.length && { objects: objects.filter(({ label }) => label === entry.id).length }),
    })),
    ...(parts && {
      parts: partFigures(labeling).map((entry) => {
        const { object, part, name } = parts.names[entry.id];
        return { id: entry.id, object, part, name, ...numbers(entry) };
      }),
    }),
    unlabeled: width * height - classes.reduce((sum, { pixels }) => sum + pixels, 0),
    seconds: rounded(found.seconds, 3),
  };
  return `${JSON.stringify(content, null, 1)}\n`;
}

function numbers({ pixels, fraction, meanConfidence }: Figures) {
  return {
    pixels,
    fraction: rounded(fraction, DIGITS.fraction),
    mean_confidence: meanConfidence === null ? null : rounded(meanConfidence, DIGITS.confidence),
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
