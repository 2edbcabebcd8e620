/** What is saved as files: the open image, all images, and the project as one zip. */

import { useEffect, useState } from "preact/hooks";

import { sentence } from "../backend";
import { everything, fileOf, FORMATS, save } from "../saving/files";
import { loadProject, projectZip } from "../saving/project_file";
import type { Exports } from "../session/exports";
import type { Item } from "../session/item";
import { Button, FileButton } from "./buttons";
import { Dialog, Question } from "./dialog";
import { type Page, plural } from "./page";

/** Formats of `segvoc project export`, and what they are called. */
const DATASETS: readonly (readonly [string, string])[] = [
  ["coco-instances", "COCO instances"],
  ["coco-panoptic", "COCO panoptic"],
  ["yolo-seg", "YOLO segmentation"],
  ["voc", "Pascal VOC"],
  ["cvat", "CVAT"],
  ["labelme", "LabelMe"],
  ["label-studio", "Label Studio"],
];

type Pack = typeof everything;

export function SavePanel({ page }: { page: Page }) {
  const { labeler, served, session } = page;
  /** How much of what is being packed is there; null: nothing is packed. */
  const [share, setShare] = useState<number | null>(null);
  const isBusy = share !== null,
    packing = isBusy ? "Something is being packed; wait for it" : null;
  const image = session.current.value,
    items = session.items.value,
    offered = session.offered.value;
  const busy = async (act: () => Promise<void>) => {
    setShare(0);
    try {
      await act();
    } catch (failure) {
      session.problem.value = sentence(failure);
    }
    setShare(null);
  };
  const saveAll = (pack: Pack, chosen: readonly Item[]) => void busy(async () => save(await pack(session, chosen, setShare)));
  const ask = (pack: Pack) => {
    if (items.every((item) => labeler.isLabeled(item))) saveAll(pack, items);
    // it isn't known yet which images are packed
    else page.dialog.value = (close) => <UnlabeledDialog page={page} onSave={(chosen) => (close(), saveAll(pack, chosen))} onClose={close} />;
  };
  const open = (file: File) =>
    void busy(async () => {
      session.offered.value = null;
      session.problem.value = null;
      await loadProject(session, file, setShare);
    });

  return (
    <>
      <h3 id="save-image">This image</h3>
      {!session.isLabeled.value && <p class="help">Files appear here once the image is labeled.</p>}
      <div class="downloads" role="group" aria-labelledby="save-image">
        {image?.labeling.value &&
          FORMATS.filter(({ isIn }) => !isIn || isIn(image)).map((format) => (
            <Button
              key={format.name}
              text={format.name}
              file={format.ending.split(".").at(-1)!.toUpperCase()}
              title={format.explanation}
              onClick={() => busy(async () => save(await fileOf(session, format)))}
            />
          ))}
      </div>
      <h3 id="save-all">All images</h3>
      <div class="downloads" role="group" aria-labelledby="save-all">
        {served && DATASETS.map(([format, called]) => <Button key={format} text={called} file="ZIP" title="All labeled images" onClick={() => served.exports.start(format)} />)}
        {!served && (
          <Button
            text="Everything"
            file="ZIP"
            title="All formats of one image, for each image that is labeled"
            reason={session.isLabeled.value ? packing : "Nothing is labeled yet"}
            onClick={() => ask(everything)}
          />
        )}
        <Button
          text="Save project"
          file="ZIP"
          title="Images, words, labels and corrections, to go on elsewhere"
          reason={items.length ? packing : "There are no images yet"}
          onClick={() => (served ? busy(async () => save({ name: `${session.name.value}.zip`, content: await served.api.download("/archive") })) : ask(projectZip))}
        />
      </div>
      {served && <ExportJobs exports={served.exports} />}
      {!served && (
        <FileButton
          label="Open project"
          accept=".zip"
          onFiles={([file]) => (items.length ? (session.offered.value = file) : open(file))}
        />
      )}
      {offered && !served && (
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
      {isBusy && <progress aria-label="Packing" max="1" {...(share > 0 && { value: share })} />}
    </>
  );
}

/** How far the datasets are that the service makes. */
function ExportJobs({ exports }: { exports: Exports }) {
  return (
    <div role="status">
      {[...exports.jobs.value.values()].map((job) => {
        const called = DATASETS.find(([format]) => format === job.format)![1];
        const isRunning = job.state === "running";
        return (
          <div class="running" key={job.id}>
            <p class={isRunning ? "help" : "error"}>
              {called}: {isRunning ? `${job.finished} of ${job.images} images` : (job.message ?? job.state)}
            </p>
            {isRunning && <progress aria-label={called} max={job.images} value={job.finished} />}
            <Button
              text={isRunning ? "Cancel" : "Close"}
              label={`${isRunning ? "Cancel" : "Close"} ${called}`}
              onClick={() => exports.cancel(job)}
            />
          </div>
        );
      })}
    </div>
  );
}

interface UnlabeledDialogProps {
  page: Page;
  onSave: (items: readonly Item[]) => void;
  onClose: () => void;
}

/** Asks what becomes of images that aren't labeled for the words that hold. */
function UnlabeledDialog({ page: { session, labeler }, onSave, onClose }: UnlabeledDialogProps) {
  const [isWaiting, setWaiting] = useState(false);
  const items = session.items.value;
  const open = items.filter((item) => !labeler.isLabeled(item));
  const failed = open.filter(({ state }) => state.value.kind === "failed");
  const labeled = items.filter((item) => !open.includes(item));
  const isOne = open.length === 1,
    them = isOne ? "it" : "them";
  useEffect(() => {
    if (isWaiting && !open.length) onSave(items);
  }, [isWaiting, open.length]);
  return (
    <Dialog title={isWaiting ? "Waiting for labels" : "Not everything is labeled"} onClose={onClose}>
      <p>
        {plural(open.length, "image")} {isOne ? "isn't" : "aren't"} labeled for the current words: what{" "}
        {isOne ? "it has" : "they have"} is older, or nothing.
        {failed.length > 0 && ` ${failed.length} of them failed.`}
      </p>
      {isWaiting && <progress aria-label="Labeled images" max={items.length} value={labeled.length} />}
      <div class="column">
        {!isWaiting && <Button text={`Wait for ${them}`} kind="primary" onClick={() => setWaiting(true)} />}
        <Button text={`Leave ${them} out`} reason={labeled.length ? null : "No image is labeled"} onClick={() => onSave(labeled)} />
        <Button text={`Save ${them} as ${isOne ? "it is" : "they are"}`} onClick={() => onSave(items)} />
      </div>
    </Dialog>
  );
}
