/** Saves results as files, and the project as one zip. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import { sentence } from "../backend";
import { everything, fileOf, type Format, type OfferedFile, save } from "../saving/files";
import { loadProject, openProjectFile, projectZip } from "../saving/project_file";
import type { Item } from "../session/item";
import { FileButton, Icon } from "./buttons";
import { Dialog, Question } from "./dialog";
import { type Page, plural } from "./page";

/** Formats of the open image, with their names, file types and contents. */
const FORMATS: readonly (readonly [Format, string, string, string])[] = [
  ["labels", "Label map", "PNG", "A pixel's value is the number of its word"],
  ["overlay", "Overlay", "PNG", "The image with its colors and names"],
  ["report", "Shares", "JSON", "Pixels, share and confidence of each word"],
  ["coco-rle", "COCO masks", "JSON", "A mask for each word, as run lengths"],
  ["coco-polygons", "COCO polygons", "JSON", "Polygons for each word"],
  ["labelme", "LabelMe", "JSON", "A polygon for each region"],
];

/** Datasets that the service of a project writes (`segvoc project export`). */
const DATASETS = ["coco-instances", "coco-panoptic", "yolo-seg", "voc", "cvat", "labelme", "label-studio"];

export function Downloads({ page }: { page: Page }) {
  const { session } = page;
  const { isShared } = session.store;
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
  const dataset = async (format: string) => {
    const content = await session.store.download(`export?format=${format}&all=true`)!;
    return { name: `${session.name.value} ${format}.zip`, content };
  };
  if (!session.isLabeled.value) return <p class="help">Files appear here once an image is labeled.</p>;
  return (
    <div class="downloads">
      {FORMATS.map(([format, name, type, explanation]) => (
        <button key={format} type="button" title={explanation} onClick={() => void offer(fileOf(session, format))}>
          {name}
          <span class="type">{type}</span>
        </button>
      ))}
      {isShared ? (
        DATASETS.map((format) => (
          <button key={format} type="button" title="All labeled images" onClick={() => void offer(dataset(format))}>
            {format}
            <span class="type">ZIP</span>
          </button>
        ))
      ) : (
        <button type="button" class="primary" disabled={share !== null} onClick={all.press}>
          <Icon name="save" />
          {share === null ? "Everything" : `Packing: ${Math.floor(100 * share)} %`}
          <span class="type">{count > 1 && `${count} images, `}ZIP</span>
        </button>
      )}
      {all.question}
    </div>
  );
}

export function ProjectPanel({ page }: { page: Page }) {
  const { session } = page;
  const [share, setShare] = useState<number | null>(null);
  const items = session.items.value,
    offered = session.offered.value;
  const { isShared } = session.store;
  /** Do what takes a while, and tell what goes wrong. */
  const busy = async (act: () => Promise<void>) => {
    setShare(0);
    try {
      await act();
    } catch (failure) {
      session.problem.value = sentence(failure);
    }
    setShare(null);
  };
  const all = useSavingAll(page, (chosen) => void busy(async () => save(await projectZip(session, chosen, setShare))));
  const saveShared = () =>
    void busy(async () => save({ name: `${session.name.value}.zip`, content: await session.store.download("archive")! }));
  const open = (file: File) =>
    void busy(async () => {
      session.offered.value = null;
      session.problem.value = null;
      await loadProject(session, await openProjectFile(file), setShare);
    });

  return (
    <div class="row project">
      <button type="button" disabled={!items.length || share !== null} onClick={isShared ? saveShared : all.press}>
        <Icon name="save" />
        {share === null ? "Save project" : `Project: ${Math.floor(100 * share)} %`}
      </button>
      {!isShared && (
        <FileButton
          label="Open project"
          icon="image"
          accept=".zip"
          onFiles={([file]) => (items.length ? (session.offered.value = file) : open(file))}
        />
      )}
      {offered && !isShared && (
        <Question
          title={`Open “${offered.name}”?`}
          yes="Open it"
          no="Stay here"
          onYes={() => open(offered)}
          onClose={() => (session.offered.value = null)}
        >
          {items.length > 0 &&
            `It takes the place of the ${plural(items.length, "image")} here; save them first if you need them.`}
        </Question>
      )}
      {all.question}
    </div>
  );
}

interface SavingAll {
  /** Save them, or ask first. */
  readonly press: () => void;
  /** The question, while it is open. */
  readonly question: ComponentChildren;
}

/** Saves all images, once it is known what becomes of those that aren't labeled for the words that hold. */
function useSavingAll(page: Page, save: (items: readonly Item[]) => void): SavingAll {
  const [asked, setAsked] = useState<"asked" | "waiting" | null>(null);
  const { session, labeler } = page;
  const press = () => {
    const items = session.items.value;
    if (items.every((item) => labeler.isLabeled(item))) save(items);
    else setAsked("asked");
  };
  const question = asked && (
    <UnlabeledDialog
      page={page}
      isWaiting={asked === "waiting"}
      onWait={() => setAsked("waiting")}
      onSave={(items) => {
        setAsked(null);
        save(items);
      }}
      onClose={() => setAsked(null)}
    />
  );
  return { press, question };
}

interface UnlabeledDialogProps {
  page: Page;
  /** Whether the reader waits for them. */
  isWaiting: boolean;
  onWait: () => void;
  /** The images that are saved. */
  onSave: (items: readonly Item[]) => void;
  onClose: () => void;
}

function UnlabeledDialog({ page: { session, labeler }, isWaiting, onWait, onSave, onClose }: UnlabeledDialogProps) {
  const items = session.items.value;
  const open = items.filter((item) => !labeler.isLabeled(item));
  const failed = open.filter(({ state }) => state.value.kind === "failed");
  const labeled = items.filter((item) => !open.includes(item));
  useEffect(() => {
    if (isWaiting && !open.length) onSave(items);
  }, [isWaiting, open.length]);
  return (
    <Dialog title={isWaiting ? "Waiting for labels" : "Not everything is labeled"} onClose={onClose}>
      <p>
        {plural(open.length, "image")} {open.length === 1 ? "isn't" : "aren't"} labeled for the current words: what{" "}
        {open.length === 1 ? "it has" : "they have"} is older, or nothing.
        {failed.length > 0 && ` ${failed.length} of them failed.`}
      </p>
      {isWaiting && <progress aria-label="Labeled images" max={items.length} value={labeled.length} />}
      <div class="column">
        {!isWaiting && (
          <button type="button" class="primary" onClick={onWait}>
            Wait for {open.length === 1 ? "it" : "them"}
          </button>
        )}
        <button type="button" disabled={!labeled.length} onClick={() => onSave(labeled)}>
          Leave {open.length === 1 ? "it" : "them"} out
        </button>
        <button type="button" onClick={() => onSave(items)}>
          Save {open.length === 1 ? "it as it is" : "them as they are"}
        </button>
      </div>
    </Dialog>
  );
}
