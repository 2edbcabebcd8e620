/** A project as one zip: as the page and the service save it, and as `segvoc annotate` opens it. */

import { batch } from "@preact/signals";

import { PageError, sentence } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import { objectMap } from "../labels/objects";
import { labelingOf } from "../project/keeping";
import { type ImageState, type Project, stem, type Work } from "../project/structure";
import { decodeWork, encodeWork, labelsPng } from "../project/work_file";
import { Item } from "../session/item";
import type { Session } from "../session/session";
import { contextOf, projectOf, useProject } from "../session/settings";
import type { OfferedFile } from "./files";
import { objectMapPng } from "./maps";
import { Archive, ZipReader } from "./zip";

/** Most images whose problems are told. */
const MOST_LISTED = 8;

const FORMAT = "segvoc project",
  VERSION = 1;

/** Types of images by the endings of their names. */
const TYPES: Readonly<Record<string, string>> = {
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  gif: "image/gif",
  bmp: "image/bmp",
  avif: "image/avif",
};

/** A project's zip, in which each image is read when it is needed. */
interface ProjectFile {
  readonly project: Project;
  readonly images: readonly string[];
  image(name: string): Promise<File>;
  /** null: nothing is known but the image. */
  work(name: string): Promise<{ readonly state: ImageState; readonly work: Work } | null>;
}

export async function projectZip(
  session: Session,
  items: readonly Item[],
  progress: (share: number) => void,
): Promise<OfferedFile> {
  const archive = new Archive();
  const context = contextOf(session.settings);
  const name = session.name.value;
  const options = { model: session.model.value?.name ?? "tiny", ...projectOf(session.settings).options, taught: [] };
  archive.addText(
    "project.json",
    JSON.stringify(
      { format: FORMAT, version: VERSION, name, revision: 1, images: "images", words: context.vocabulary, options },
      null,
      1,
    ),
  );
  for (const [at, item] of items.entries()) {
    progress(at / items.length);
    await archive.addBlob(`images/${item.name}`, await item.file());
    const work = await session.keptWork(item);
    // fractions of a second are more than other programs read
    const state = { ...item.summary.value, at: item.summary.value.at?.replace(/\.\d+Z$/, "Z") ?? null };
    if (!state.revision) continue;
    const labeling = labelingOf(item, work, context);
    const own = stem(item.name);
    archive.add(`work/${own}.zip`, encodeWork(state, work, context));
    archive.add(`labels/${own}.png`, labelsPng(labeling, context.vocabulary));
    const objects = objectMap(labeling);
    if (objects) archive.add(`objects/${own}.png`, objectMapPng(objects, item));
    archive.addText(`states/${own}.json`, JSON.stringify(state));
  }
  return { name: `${name}.zip`, content: archive.finish() };
}

/**
 * Look into a project's zip.
 *
 * @throws PageError it is none that this page can read.
 */
export async function openProjectFile(file: File): Promise<ProjectFile> {
  const fail = (what: string) => new PageError(`“${file.name}” can't be opened: ${what}.`);
  let zip: ZipReader;
  let content: Project & { format?: string; version?: number; images?: string };
  let top: string;
  try {
    zip = await ZipReader.open(file);
    // it may lie in one folder
    top = zip.names.find((name) => /^([^/]+\/)?project\.json$/.test(name))?.slice(0, -"project.json".length) ?? "";
    if (!zip.has(`${top}project.json`)) throw new Error("it has no project.json, so it is no project of segvoc");
    content = JSON.parse(await zip.text(`${top}project.json`)) as typeof content;
  } catch (error) {
    throw fail(error instanceof Error ? error.message : String(error));
  }
  const problem = problemOf(content);
  if (problem) throw fail(problem);
  const folder = `${top}images/`;
  const images = zip.names.filter((name) => name.startsWith(folder)).map((name) => name.slice(folder.length));
  if (!images.length) throw fail("it has no images");
  const { name, revision, words, options } = content;
  return {
    project: { name, revision, words, options },
    images,
    async image(image) {
      const type = TYPES[image.split(".").at(-1)!.toLowerCase()] ?? "";
      return new File([await zip.read(folder + image)], image, { type });
    },
    async work(image) {
      const path = `${top}work/${stem(image)}.zip`;
      if (!zip.has(path)) return null;
      try {
        return decodeWork(await zip.read(path), words);
      } catch (error) {
        throw new PageError(`The labels of “${image}” can't be read (${error instanceof Error ? error.message : error}).`);
      }
    },
  };
}

/** Replace the session's project by that of a file. */
export async function loadProject(
  session: Session,
  { project, images, image, work }: ProjectFile,
  progress: (share: number) => void,
): Promise<void> {
  await session.clear();
  const problems: string[] = [];
  batch(() => {
    session.name.value = project.name;
    useProject(session.settings, project);
  });
  for (const [at, name] of images.entries()) {
    progress(at / images.length);
    try {
      const entry = await session.store.add(await image(name), name, at + 1, MOST_PIXELS);
      const known = await work(name);
      const { width, height } = entry.state;
      const isFitting = known?.state.width === width && known.state.height === height;
      const state = isFitting ? { ...known.state, image: name } : entry.state;
      if (isFitting) {
        const { draft, edits, settled } = known.work;
        const change = { state, ...(draft && { draft }), ...(edits && { edits }), settled };
        await session.store.save({ ...entry, state }, change);
      }
      session.items.value = [...session.items.value, new Item({ ...entry, state }, session.store)];
    } catch (failure) {
      problems.push(sentence(failure));
    }
  }
  const [first] = session.items.value.filter(({ isDone }) => !isDone.value).concat(session.items.value);
  // an image may have been opened while others were still being read
  if (first && !session.opening.value) await session.open(first);
  if (problems.length) session.problem.value = problems.slice(0, MOST_LISTED).join("\n");
}

/** What is wrong with the content of `project.json`; null: nothing. */
function problemOf({ format, version, name, words, options }: Partial<Project> & { format?: string; version?: number }): string | null {
  if (format !== FORMAT) return "its project.json isn't one of segvoc";
  if (typeof version !== "number" || version > VERSION) return "a newer segvoc has made it; update this page";
  const isWord = (word: unknown) => {
    const { id, name: text, color, removed } = (word ?? {}) as Record<string, unknown>;
    const isColor = Array.isArray(color) && color.length === 3 && color.every((one) => Number.isInteger(one));
    return Number.isInteger(id) && typeof text === "string" && isColor && typeof removed === "boolean";
  };
  if (typeof name !== "string" || !Array.isArray(words) || !words.every(isWord)) return "its project.json is damaged";
  if (new Set(words.map(({ id }) => id)).size < words.length) return "two of its words have one number";
  if (typeof options !== "object" || options === null) return "its project.json is damaged";
  return null;
}
