/** All files that can be taken away, of one image or of all. */

import type { Pixels } from "../backend";
import { drawNames, namePlaces } from "../imaging/names";
import { drawnColors, drawnLabels, overlay } from "../imaging/overlay";
import { pixelsOf } from "../imaging/reading";
import { figures, type Figures, type Labeling, NONE, partFigures, shownWords } from "../labels/labeling";
import { objectFigures } from "../labels/objects";
import { withIds } from "../project/keeping";
import { stem } from "../project/structure";
import { colorsById } from "../project/words";
import type { Item } from "../session/item";
import type { Session } from "../session/session";
import { Coco, labelme, type Shape } from "./annotations";
import { labelMapPng } from "./maps";
import { Archive } from "./zip";

export type Format = "labels" | "overlay" | "report" | "labelme" | "coco-rle" | "coco-polygons";

/** A file that is offered to the reader. */
export interface OfferedFile {
  readonly name: string;
  readonly content: Blob;
}

const ENDINGS: Record<Exclude<Format, "coco-rle" | "coco-polygons">, string> = {
  labels: ".png",
  overlay: ".overlay.png",
  report: ".json",
  labelme: ".labelme.json",
};

/** The open image in one format. */
export async function fileOf(session: Session, format: Format): Promise<OfferedFile> {
  const image = session.current.value!;
  const labeling = image.labeling.value!,
    { name } = image.item;
  if (format === "coco-rle" || format === "coco-polygons") {
    const shape: Shape = format === "coco-rle" ? "rle" : "polygons";
    const coco = new Coco(shape);
    coco.add(name, labeling);
    return { name: `${stem(name)}.${format}.json`, content: json(coco.text()) };
  }
  return { name: stem(name) + ENDINGS[format], content: await content(session, format, labeling, image.bitmap, name) };
}

/**
 * Images in every format; those without labels are left out. A word has one number in all files, however many words came
 * and went between two images.
 */
export async function everything(
  session: Session,
  items: readonly Item[],
  progress: (share: number) => void,
): Promise<OfferedFile> {
  const archive = new Archive();
  const files = [new Coco("rle"), new Coco("polygons")] as const;
  const stems: string[] = [];
  for (const [at, item] of items.entries()) {
    progress(at / items.length);
    const image = await session.opened(item);
    const labeling = image.labeling.value,
      { name } = item;
    if (labeling) {
      stems.push(stem(name));
      for (const coco of files) coco.add(name, labeling);
      for (const [format, ending] of Object.entries(ENDINGS) as [keyof typeof ENDINGS, string][])
        await archive.addBlob(stem(name) + ending, await content(session, format, labeling, image.bitmap, name));
      const { parts } = labeling.found;
      if (parts) archive.add(`${stem(name)}.parts.png`, labelMapPng(parts.labels, labeling, parts.colors));
    }
    if (image !== session.current.value) image.close();
  }
  archive.addText("coco-rle.json", files[0].text());
  archive.addText("coco-polygons.json", files[1].text());
  return { name: stems.length === 1 ? `${stems[0]}.zip` : "segvoc.zip", content: archive.finish() };
}

/** Hand a file to the browser, which saves it. */
export function save({ name, content }: OfferedFile): void {
  const address = URL.createObjectURL(content);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  // the download has begun by then, and holds its own reference
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

async function content(
  session: Session,
  format: keyof typeof ENDINGS,
  labeling: Labeling,
  bitmap: ImageBitmap,
  name: string,
): Promise<Blob> {
  const { opacity, hasNames, vocabulary } = session.settings;
  switch (format) {
    case "labels":
      return png(labelMapPng(withIds(labeling.labels, labeling.ids), labeling, colorsById(vocabulary.value)));
    case "overlay":
      return overlayPng(pixelsOf(bitmap, name), labeling, opacity.value, hasNames.value);
    case "report":
      return json(report(labeling, name));
    case "labelme":
      return json(labelme(labeling, name));
  }
}

function png(bytes: Uint8Array<ArrayBuffer>): Blob {
  return new Blob([bytes], { type: "image/png" });
}

function json(text: string): Blob {
  return new Blob([text], { type: "application/json" });
}

/** The words as colors over the image, with their names. */
function overlayPng(pixels: Pixels, labeling: Labeling, opacity: number, hasNames: boolean): Promise<Blob> {
  const { width, height } = pixels;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d")!;
  const drawn = overlay(pixels, drawnLabels(labeling), drawnColors(labeling), opacity);
  context.putImageData(new ImageData(drawn, width, height), 0, 0);
  if (hasNames) {
    const places = namePlaces(labeling.labels, labeling, NONE);
    drawNames(
      context,
      places,
      shownWords(labeling.words),
      { scale: 1, x: 0, y: 0 },
      Math.max(11, Math.min(width, height) / 30),
    );
  }
  return canvas.convertToBlob({ type: "image/png" });
}

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
