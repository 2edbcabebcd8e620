/** Reads the service's answer to a request for labels: a zip of maps and a report. */

import { decode, type DecodedPng } from "fast-png";
import { unzipSync } from "fflate";

import { PageError, type PartMap, type PartName, type Segmentation } from "../backend";
import { NONE } from "../labels/labeling";

/** What `result.json` says. */
interface Report {
  readonly model: string;
  readonly dtype?: string;
  readonly classes: readonly { readonly name: string }[];
  readonly parts?: readonly PartName[];
  readonly seconds: number;
}

/** @throws PageError the answer isn't what this page knows. */
export function readAnswer(zip: Uint8Array): Segmentation {
  try {
    return read(unzipSync(zip));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new PageError(`The service's answer can't be read (${reason}); its version may differ from the page's.`);
  }
}

function read(files: Readonly<Record<string, Uint8Array>>): Segmentation {
  const report = JSON.parse(new TextDecoder().decode(file(files, "result.json"))) as Report;
  const map = decode(file(files, "labels.png"));
  const { width, height } = map;
  const confidence = decode(file(files, "confidence.png"));
  if (confidence.width !== width || confidence.height !== height || confidence.channels !== 1)
    throw new Error("labels.png and confidence.png differ in size");
  return {
    width,
    height,
    labels: labelsOf(map),
    confidence: new Uint8Array(confidence.data),
    words: report.classes.map(({ name }) => name),
    parts: report.parts ? readParts(report.parts, decode(file(files, "parts.png"))) : null,
    model: report.model,
    dtype: report.dtype ?? "float32",
    seconds: report.seconds,
  };
}

function file(files: Readonly<Record<string, Uint8Array>>, name: string): Uint8Array {
  if (!files[name]) throw new Error(`${name} is missing`);
  return files[name];
}

/** Labels of a label map: 8 bits with 255 for none, or 16 bits. */
function labelsOf({ data, depth, channels }: DecodedPng): Uint16Array {
  if (channels !== 1) throw new Error("a label map has more than one channel");
  const labels = new Uint16Array(data);
  if (depth === 8) for (let at = 0; at < labels.length; at++) if (labels[at] === 255) labels[at] = NONE;
  return labels;
}

function readParts(names: readonly PartName[], map: DecodedPng): PartMap {
  const gray = [128, 128, 128];
  return { names, labels: labelsOf(map), colors: names.map((_, index) => map.palette?.[index].slice(0, 3) ?? gray) };
}
