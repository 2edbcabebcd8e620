/** All files that can be taken away, of one image or of all. */

import { zipSync, type Zippable } from "fflate";

import type { Labeling } from "../labels/labeling";
import { pixelsOf } from "../imaging/reading";
import type { Session } from "../session/session";
import { visibleWords } from "../session/visibility";
import { coco, type Labeled, type Shape } from "./coco";
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
    return { name: `${stem(name)}.${format}.json`, content: json(coco([{ name, labeling }], shape)) };
  }
  return { name: stem(name) + ENDINGS[format], content: await content(session, format, labeling, image.bitmap, name) };
}

/** Every image in every format; images without labels are left out. */
export async function everything(session: Session, progress: (share: number) => void): Promise<OfferedFile> {
  const files: Zippable = {};
  const labeled: Labeled[] = [];
  const items = session.items.value;
  for (const [at, item] of items.entries()) {
    progress(at / items.length);
    const image = await session.opened(item);
    const labeling = image.labeling.value;
    if (labeling) {
      const name = unique(
        item.name,
        labeled.map((other) => other.name),
      );
      labeled.push({ name, labeling });
      for (const [format, ending] of Object.entries(ENDINGS) as [keyof typeof ENDINGS, string][]) {
        const bytes = new Uint8Array(
          await (await content(session, format, labeling, image.bitmap, name)).arrayBuffer(),
        );
        // PNG files are packed already
        files[stem(name) + ending] = [bytes, { level: ending.endsWith(".png") ? 0 : 6 }];
      }
      const { parts } = labeling.found;
      if (parts)
        files[`${stem(name)}.parts.png`] = labelMapPng(parts.labels, labeling, parts.colors);
    }
    if (image !== session.current.value) image.close();
  }
  const text = new TextEncoder();
  files["coco-rle.json"] = text.encode(coco(labeled, "rle"));
  files["coco-polygons.json"] = text.encode(coco(labeled, "polygons"));
  const name = labeled.length === 1 ? `${stem(labeled[0].name)}.zip` : "segvoc.zip";
  return { name, content: new Blob([zipSync(files) as Uint8Array<ArrayBuffer>], { type: "application/zip" }) };
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
  const { opacity, hasNames } = session.settings;
  switch (format) {
    case "labels":
      return new Blob([labelMapPng(labeling.labels, labeling, labeling.colors)], { type: "image/png" });
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

function json(text: string): Blob {
  return new Blob([text], { type: "application/json" });
}

function stem(name: string): string {
  return name.replace(/\.[^.]+$/, "") || "image";
}

/** A name whose files don't replace those of another image. */
function unique(name: string, others: readonly string[]): string {
  const stems = others.map(stem);
  let found = name;
  for (let number = 2; stems.includes(stem(found)); number++) found = name.replace(/(\.[^.]*)?$/, `-${number}$1`);
  return found;
}
