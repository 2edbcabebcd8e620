/** Datasets of all labeled images, which the service of a project makes: a button for each, and how far it is. */

import { Button } from "./buttons";
import type { Page } from "./page";

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

export function ExportButtons({ page: { exports } }: { page: Page }) {
  if (!exports) return null;
  return DATASETS.map(([format, called]) => (
    <Button key={format} text={called} file="ZIP" title="All labeled images" onClick={() => exports.start(format)} />
  ));
}

export function ExportJobs({ page: { exports } }: { page: Page }) {
  const jobs = [...(exports?.jobs.value.values() ?? [])];
  return (
    <div role="status">
      {jobs.map((job) => {
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
              onClick={() => exports!.cancel(job)}
            />
          </div>
        );
      })}
    </div>
  );
}
