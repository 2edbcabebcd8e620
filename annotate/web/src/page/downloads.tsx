/** Buttons that save the results as files. */

import { useState } from "preact/hooks";

import { sentence } from "../backend";
import { everything, fileOf, save, type Format, type OfferedFile } from "../saving/files";
import { Icon } from "./icons";
import type { Page } from "./page";
import { useSavingAll } from "./unlabeled_dialog";

/** Formats with their names, their files' types, and what is in them. */
const FORMATS: readonly (readonly [Format, string, string, string])[] = [
  ["labels", "Label map", "PNG", "A pixel's value is the number of its word"],
  ["overlay", "Overlay", "PNG", "The image with its colors and names"],
  ["cut-out", "Cut-out", "PNG", "Only the words that are shown; everything else is transparent"],
  ["report", "Shares", "JSON", "Pixels, share and confidence of each word"],
  ["coco-rle", "COCO masks", "JSON", "A mask for each word, as run lengths"],
  ["coco-polygons", "COCO polygons", "JSON", "Polygons for each word"],
  ["labelme", "LabelMe", "JSON", "A polygon for each region"],
];

export function Downloads({ page }: { page: Page }) {
  const { session } = page;
  const [share, setShare] = useState<number | null>(null);
  const count = session.items.value.length;
  const offer = async (file: Promise<OfferedFile>) => {
    try {
      save(await file);
    } catch (failure) {
      session.problem.value = sentence(failure);
    }
    setShare(null);
  };
  const all = useSavingAll(page, (items) => void offer(everything(session, items, setShare)));
  if (!session.isLabeled.value) return <p class="help">Files appear here once an image is labeled.</p>;
  return (
    <div class="downloads">
      {FORMATS.map(([format, name, type, explanation]) => (
        <button key={format} type="button" title={explanation} onClick={() => void offer(fileOf(session, format))}>
          {name}
          <span class="type">{type}</span>
        </button>
      ))}
      <button
        type="button"
        class="primary"
        disabled={share !== null}
        onClick={all.press}
      >
        <Icon name="save" />
        {share === null ? "Everything" : `Packing: ${Math.floor(100 * share)} %`}
        <span class="type">{count > 1 && `${count} images, `}ZIP</span>
      </button>
      {all.question}
    </div>
  );
}
