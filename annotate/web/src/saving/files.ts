/** All files that can be taken away, of one image or of all. */

import type { Pixels } from "../backend";
import { drawNames, namePlaces } from "../imaging/names";
import { drawnColors, drawnLabels, overlay } from "../imaging/overlay";
import { allPixels } from "../imaging/picture";
import { figures, type Figures, type Labeling, NONE, partFigures } from "../labels/labeling";
import { objectFigures, objectMap } from "../labels/objects";
import { firstName } from "../labels/synonyms";
import { stem } from "../project/structure";
import { labelsPng } from "../project/work_file";
import type { Item } from "../session/item";
import type { OpenImage } from "../session/open_image";
import type { Session } from "../session/session";
import type { Settings } from "../session/settings";
import { Coco, type Shape } from "./annotations";
import { grayPng, labelMapPng } from "./maps";
import { zipped, type ZippedFile } from "./zip";

type Write = (labeling: Labeling, image: OpenImage, settings: Settings) => Blob | Promise<Blob>;

export interface Format {
  readonly name: string;
  /** What follows the image's name, without its ending, in the file's name. */
  readonly ending: string;
  readonly explanation: string;
  /** What is in its file; the masks of a COCO file, which several images share. */
  readonly content: Write | Shape;
  /** Whether an image has what is saved; without it all have. */
  readonly isIn?: (image: OpenImage) => boolean;
}

export const FORMATS: readonly Format[] = [
  {
    name: "Label map",
    ending: ".png",
    explanation: "A pixel's value is the number of its word",
    content: (labeling, _, { vocabulary }) => png(labelsPng(labeling.labels, labeling, vocabulary.value)),
  },
  {
    name: "Parts",
    ending: ".parts.png",
    explanation: "A pixel's value is the number of its part",
    content: (labeling) => {
      const { labels, colors } = labeling.found.parts!;
      return png(labelMapPng(labels, labeling.found, colors));
    },
    isIn: ({ draft }) => Boolean(draft.value?.parts),
  },
  {
    name: "Objects",
    ending: ".objects.png",
    explanation: "A pixel's value is the number of its object",
    content: (labeling) => png(grayPng(objectMap(labeling)!, labeling)),
    isIn: ({ objects }) => objects.value.length > 0,
  },
  {
    name: "Overlay",
    ending: ".overlay.png",
    explanation: "The image with its colors and names",
    content: async (labeling, { picture }, { opacity, hasNames }) =>
      overlayPng(await allPixels(picture), labeling, opacity.value, hasNames.value),
  },
  {
    name: "Shares",
    ending: ".json",
    explanation: "Pixels, share and confidence of each word",
    content: (labeling, { item }) => json(report(labeling, item.name)),
  },
  { name: "COCO masks", ending: ".coco-rle.json", explanation: "A mask for each word, as run lengths", content: "rle" },
  { name: "COCO polygons", ending: ".coco-polygons.json", explanation: "Polygons for each word", content: "polygons" },
];

export interface OfferedFile {
  readonly name: string;
  readonly content: Blob;
}

export async function fileOf({ current, settings }: Session, { content, ending }: Format): Promise<OfferedFile> {
  const image = current.value!;
  const labeling = image.labeling.value!,
    { name } = image.item;
  const isCoco = typeof content === "string";
  const written = isCoco ? json(new Coco(content).add(name, labeling).text()) : await content(labeling, image, settings);
  return { name: stem(name) + ending, content: written };
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
  const stems: string[] = [];
  async function* files(): AsyncGenerator<ZippedFile> {
    const cocos = new Map<string, Coco>();
    for (const [at, item] of items.entries()) {
      progress(at / items.length);
      const image = await session.opened(item);
      const labeling = image.labeling.value,
        name = stem(item.name);
      if (labeling) stems.push(name);
      for (const { content, ending, isIn } of labeling ? FORMATS : []) {
        if (typeof content === "string") {
          const coco = cocos.get(ending) ?? new Coco(content);
          cocos.set(ending, coco.add(item.name, labeling!));
        } else if (!isIn || isIn(image)) {
          yield { name: name + ending, input: await content(labeling!, image, session.settings) };
        }
      }
      if (image !== session.current.value) image.close();
    }
    for (const [ending, coco] of cocos) yield { name: ending.slice(1), input: coco.text() };
  }
  const content = await zipped(files());
  return { name: stems.length === 1 ? `${stems[0]}.zip` : "segvoc.zip", content };
}

export function save({ name, content }: OfferedFile): void {
  const address = URL.createObjectURL(content);
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  // the download has begun by then, and holds its own reference
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function png(bytes: Uint8Array<ArrayBuffer>): Blob {
  return new Blob([bytes], { type: "image/png" });
}

function json(text: string): Blob {
  return new Blob([text], { type: "application/json" });
}

function overlayPng(pixels: Pixels, labeling: Labeling, opacity: number, hasNames: boolean): Promise<Blob> {
  const { width, height } = pixels;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d")!;
  const drawn = overlay(pixels, drawnLabels(labeling), drawnColors(labeling), opacity);
  context.putImageData(new ImageData(drawn, width, height), 0, 0);
  if (hasNames) {
    const places = namePlaces(labeling.labels, labeling, NONE);
    const size = Math.max(11, Math.min(width, height) / 30);
    drawNames(context, places, (id) => firstName(labeling.word(id).name), { scale: 1, x: 0, y: 0 }, size);
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
      id: entry.id,
      name: entry.name,
      color: entry.color,
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

function numbers({ pixels, fraction, confidence }: Figures) {
  return {
    pixels,
    fraction: rounded(fraction, DIGITS.fraction),
    confidence: confidence === null ? null : rounded(confidence, DIGITS.confidence),
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
