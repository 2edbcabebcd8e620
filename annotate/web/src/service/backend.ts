/** Labels images by asking a segvoc service. */

import { decode, type DecodedPng } from "fast-png";

import { PageError } from "../backend";
import type { Backend, ImageSource, ModelInfo, PartMap, PartName, Query, Segmentation } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import { labelsOfMap } from "../saving/maps";
import { type Unzipped, unzipped } from "../saving/zip";
import { refusal, refused, send } from "./requests";

/** Addresses of a service, relative to the page. */
export interface Addresses {
  readonly segment: string;
  readonly models: string;
}

/** Types of files that every service reads; others are sent as PNG. */
const SENT = ["image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif"];

/** How often a service that is busy is asked again, and for how long it is waited for at most [s]. */
const TRIES = 8,
  LONGEST_WAIT = 30;

/** What `v1/models` says. */
interface Models {
  readonly models: readonly {
    readonly name: string;
    readonly parts: boolean;
    readonly taught?: readonly string[];
    /** Digests of the files that they come from. */
    readonly taught_files?: readonly string[];
  }[];
  readonly limits?: { readonly bytes?: number; readonly pixels?: number; readonly words?: number };
}

export class ServiceBackend implements Backend {
  readonly atOnce = 2;
  key = "";
  private limits: NonNullable<Models["limits"]> = {};

  constructor(private readonly addresses: Addresses) {}

  async load(): Promise<ModelInfo> {
    const response = await this.request(this.addresses.models, {}, new AbortController().signal);
    const { models, limits } = (await response.json()) as Models;
    const [model] = models;
    if (!model) throw new PageError("The service has no model; start it with one, such as: segvoc serve tiny");
    this.limits = limits ?? {};
    const mostPixels = Math.min(MOST_PIXELS, this.limits.pixels ?? MOST_PIXELS);
    const words = model.taught ?? [];
    const id = (model.taught_files ?? words).join();
    const taught = words.length ? [{ id, name: "", words }] : [];
    return { name: model.name, hasParts: model.parts, place: "on the service", taught, mostPixels };
  }

  async segment(image: ImageSource, { words, parts }: Query, signal: AbortSignal): Promise<Segmentation> {
    const { name, width, height } = image;
    const { bytes = Infinity, words: most = Infinity } = this.limits;
    if (words.length > most) throw new PageError(`The service takes ${most} words at most; remove some.`);
    const given = await image.scaled();
    const file = SENT.includes(given.type) ? given : await asPng(image);
    if (file.size > bytes)
      throw new PageError(`“${name}” has ${file.size} bytes; the service takes ${bytes} at most: make it smaller.`);
    const form = new FormData();
    form.append("image", file, name);
    // a list, since a word may have synonyms, which commas separate
    if (words.length) form.append("words", JSON.stringify(words));
    if (parts) form.append("parts", parts);
    const headers = { Accept: "application/zip" };
    const response = await this.request(this.addresses.segment, { method: "POST", headers, body: form }, signal);
    const found = await readAnswer(new Uint8Array(await response.arrayBuffer()));
    // what is smaller was scaled
    if (Math.abs((found.width / width) * height - found.height) > 1)
      throw new PageError(`The service reads “${name}” as ${found.width} × ${found.height} pixels; save it as PNG.`);
    return found;
  }

  /** Ask, and ask again while the service is busy. */
  private async request(address: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    for (let tries = 1; ; tries++) {
      const response = await send(new URL(address, document.baseURI), this.key, { ...init, signal });
      if (response.ok) return response;
      const { status } = response;
      if (![429, 503].includes(status) || tries === TRIES)
        throw refusal(response, (await refused(response)).message, [429, 502, 503, 504].includes(status));
      const wait = Math.min(LONGEST_WAIT, Number(response.headers.get("Retry-After")) || 1);
      const end = AbortSignal.any([signal, AbortSignal.timeout(1000 * wait)]);
      await new Promise((resolve) => end.addEventListener("abort", resolve));
      signal.throwIfAborted();
    }
  }
}

async function asPng(image: ImageSource): Promise<Blob> {
  const { width, height, data } = await image.pixels();
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d")!.putImageData(new ImageData(Uint8ClampedArray.from(data), width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** What `result.json` says. */
interface Report {
  readonly model: string;
  readonly dtype?: string;
  readonly classes: readonly { readonly name: string }[];
  readonly parts?: readonly PartName[];
  readonly seconds: number;
  readonly quality?: number | null;
}

/** @throws PageError the answer isn't what this page knows. */
export async function readAnswer(zip: Uint8Array): Promise<Segmentation> {
  try {
    return read(await unzipped(zip));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new PageError(`The service's answer can't be read (${reason}); its version may differ from the page's.`);
  }
}

function read(files: Unzipped): Segmentation {
  const report = JSON.parse(new TextDecoder().decode(file(files, "result.json"))) as Report;
  const map = decode(file(files, "labels.png"));
  const { width, height } = map;
  const confidence = decode(file(files, "confidence.png"));
  if (confidence.width !== width || confidence.height !== height || confidence.channels !== 1)
    throw new Error("labels.png and confidence.png differ in size");
  return {
    width,
    height,
    labels: labelsOfMap(map),
    confidence: new Uint8Array(confidence.data),
    words: report.classes.map(({ name }) => name),
    parts: report.parts ? readParts(report.parts, decode(file(files, "parts.png"))) : null,
    model: report.model,
    dtype: report.dtype ?? "float32",
    seconds: report.seconds,
    quality: report.quality ?? null,
  };
}

function file(files: Unzipped, name: string): Uint8Array {
  if (!files[name]) throw new Error(`${name} is missing`);
  return files[name];
}

function readParts(names: readonly PartName[], map: DecodedPng): PartMap {
  const gray = [128, 128, 128];
  return { names, labels: labelsOfMap(map), colors: names.map((_, index) => map.palette?.[index].slice(0, 3) ?? gray) };
}
