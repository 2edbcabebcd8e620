/** All files that can be taken away, of one image or of all. */

import { pixelsOf } from "../imaging/reading";
import type { Labeling } from "../labels/labeling";
import { withIds } from "../project/keeping";
import { stem } from "../project/structure";
import { colorsById } from "../project/words";
import type { Item } from "../session/item";
import type { Session } from "../session/session";
import { visibleWords } from "../session/visibility";
import { Archive } from "./archive";
import { Coco, type Shape } from "./coco";
import { cutOutPng, overlayPng } from "./drawings";
import { labelMapPng } from "./label_map";
import { labelme } from "./labelme";
import { report } from "./report";

export type Format = "labels" | "overlay" | "cut-out" | "report" | "labelme" | "coco-rle" | "coco-polygons";

/** A file that is offered to the reader. */
export interface OfferedFile {
  readonly name: string;
  readonly content: Blob;
}

const ENDINGS: Record<Exclude<Format, "coco-rle" | "coco-polygons">, string> = {
  labels: ".png",
  overlay: ".overlay.png",
  "cut-out": ".cut-out.png",
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
    case "cut-out":
      return cutOutPng(pixelsOf(bitmap, name), labeling, visibleWords(session, labeling.words));
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
