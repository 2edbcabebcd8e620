/** The Export button: a list of what is saved as files, of the open image, of all images, and the project as one zip. */

import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";

import { sentence } from "../backend";
import type { Size } from "../labels/runs";
import { everything, fileOf, type Format, FORMATS, save } from "../saving/files";
import { loadProject, projectZip } from "../saving/project_file";
import type { Exports } from "../session/exports";
import type { Item } from "../session/item";
import { Button } from "./buttons";
import { Dialog, Question } from "./dialog";
import { type Page, plural } from "./page";

/** Formats of `segvoc project export`, and what they are called. */
const DATASETS: readonly (readonly [string, string])[] = [
  ["coco-instances", "COCO instances"],
  ["coco-panoptic", "COCO panoptic"],
  ["yolo-seg", "YOLO segmentation"],
  ["voc", "Pascal VOC"],
  ["cvat", "CVAT"],
  ["cvat-video", "CVAT for video"],
  ["labelme", "LabelMe"],
  ["label-studio", "Label Studio"],
  ["masks-by-class", "Masks by class"],
];

type Pack = typeof everything;

export function ExportButton({ page }: { page: Page }) {
  const { labeler, served, session } = page;
  /** How much of what is being packed is there; null: nothing is packed. */
  const share = useSignal<number | null>(null);
  const items = session.items.value,
    offered = session.offered.value;
  const setShare = (packed: number) => (share.value = packed);
  const busy = async (act: () => Promise<void>) => {
    share.value = 0;
    try {
      await act();
    } catch (failure) {
      session.problem.value = sentence(failure);
    }
    share.value = null;
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
  useEffect(() => {
    if (offered && !served && !items.length) open(offered);
  }, [offered]);

  const saveProject = () =>
    served ? busy(async () => save({ name: `${session.name.value}.zip`, content: await served.api.download("/archive") })) : ask(projectZip);

  return (
    <>
      {share.value !== null && <progress aria-label="Packing" max="1" {...(share.value > 0 && { value: share.value })} />}
      <Button
        text="Export"
        icon="save"
        title="Save labels as files, for other tools and to go on elsewhere"
        reason={share.value === null ? null : "Something is being packed; wait for it"}
        onClick={() =>
          (page.dialog.value = (close) => (
            <ExportList
              page={page}
              onFormat={(format) => busy(async () => save(await fileOf(session, format)))}
              onEverything={() => ask(everything)}
              onProject={saveProject}
              onClose={close}
            />
          ))
        }
      />
      {offered && !served && items.length > 0 && (
        <Question
          title={`Open “${offered.name}”?`}
          yes="Open it"
          no="Stay here"
          onYes={() => open(offered)}
          onClose={() => (session.offered.value = null)}
        >
          {`It takes the place of the ${plural(items.length, "image")} here; save them first if you need them.`}
        </Question>
      )}
    </>
  );
}

interface ExportListProps {
  page: Page;
  onFormat: (format: Format) => void;
  onEverything: () => void;
  onProject: () => void;
  onClose: () => void;
}

function ExportList({ page: { served, session }, onFormat, onEverything, onProject, onClose }: ExportListProps) {
  const image = session.current.value;
  const row = (name: string, file: string, about: string, act: () => void, reason: string | null = null) => (
    <li key={name}>
      <button type="button" title={reason ?? undefined} disabled={reason !== null} onClick={() => (onClose(), act())}>
        <span>{name}</span>
        <span class="type">{file}</span>
        <span class="help">{about}</span>
      </button>
    </li>
  );
  // below its button, where there is room
  const place = ({ width, height }: Size) => (width < innerWidth ? { x: innerWidth - width - 12, y: 52 } : { x: 0, y: innerHeight - height });
  return (
    <Dialog title="Export" place={place} onClose={onClose}>
      <h3 id="export-image">This image</h3>
      {!session.isLabeled.value && <p class="help">Its files appear here once it is labeled.</p>}
      <ul class="formats" aria-labelledby="export-image">
        {image?.labeling.value &&
          FORMATS.filter(({ isIn }) => !isIn || isIn(image)).map((format) =>
            row(format.name, format.ending.split(".").at(-1)!.toUpperCase(), format.explanation, () => onFormat(format)),
          )}
      </ul>
      <h3 id="export-all">All labeled images</h3>
      <ul class="formats" aria-labelledby="export-all">
        {served && DATASETS.map(([format, called]) => row(called, "ZIP", "", () => served.exports.start(format)))}
        {!served && row("Everything", "ZIP", "Each image in all formats", onEverything, session.isLabeled.value ? null : "Nothing is labeled yet")}
        {row("Save project", "ZIP", "Images, words, labels and corrections, to go on elsewhere", onProject, session.items.value.length ? null : "There are no images yet")}
      </ul>
    </Dialog>
  );
}

/** How far the datasets are that the service makes. */
export function ExportJobs({ exports }: { exports: Exports }) {
  return (
    <div class="jobs" role="status">
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
