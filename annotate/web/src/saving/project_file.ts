/** A project as one zip: as the page and the service save it, and as `segvoc annotate` opens it. */

import { batch } from "@preact/signals";
import { unzip, type ZipEntry, type ZipInfo } from "unzipit";

import { PageError, sentence } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import { objectMap } from "../labels/objects";
import { labelingOf } from "../project/keeping";
import { type Project, stem } from "../project/structure";
import { decodeWork, encodeWork, labelsPng } from "../project/work_file";
import type { Vocabulary } from "../project/words";
import { Item } from "../session/item";
import { listed, type Session } from "../session/session";
import { contextOf, projectOf, useProject } from "../session/settings";
import type { OfferedFile } from "./files";
import { grayPng } from "./maps";
import { zipped, type ZippedFile } from "./zip";

const FORMAT = "segvoc project",
  VERSION = 1;

export async function projectZip(
  session: Session,
  items: readonly Item[],
  progress: (share: number) => void,
): Promise<OfferedFile> {
  return { name: `${session.name.value}.zip`, content: await zipped(projectFiles(session, items, progress)) };
}

async function* projectFiles(
  session: Session,
  items: readonly Item[],
  progress: (share: number) => void,
): AsyncGenerator<ZippedFile> {
  const context = contextOf(session.settings);
  const name = session.name.value;
  const options = { model: session.model.value?.name ?? "tiny", ...projectOf(session.settings).options, taught: [] };
  const about = { format: FORMAT, version: VERSION, name, revision: 1, images: "images" };
  const project = { ...about, words: context.vocabulary, options };
  yield { name: "project.json", input: JSON.stringify(project, null, 1) };
  for (const [at, item] of items.entries()) {
    progress(at / items.length);
    yield { name: `images/${item.name}`, input: await item.file() };
    const work = await session.keptWork(item);
    // fractions of a second are more than other programs read
    const state = { ...item.summary.value, at: item.summary.value.at?.replace(/\.\d+Z$/, "Z") ?? null };
    if (!state.revision) continue;
    const labeling = labelingOf(item, work, context);
    const own = stem(item.name);
    yield { name: `work/${own}.zip`, input: await encodeWork(state, work, context) };
    yield { name: `labels/${own}.png`, input: labelsPng(labeling, context.vocabulary) };
    const objects = objectMap(labeling);
    if (objects) yield { name: `objects/${own}.png`, input: grayPng(objects, item) };
    yield { name: `states/${own}.json`, input: JSON.stringify(state) };
  }
}

/**
 * Replace the session's project by that of a file, whose images are read one by one.
 *
 * @throws PageError it is none that this page can read; nothing has changed then.
 */
export async function loadProject(session: Session, file: File, progress: (share: number) => void): Promise<void> {
  const { entries, top, project } = await opened(file);
  const folder = `${top}images/`;
  const inside = Object.values(entries).filter(({ name, isDirectory }) => name.startsWith(folder) && !isDirectory);
  const images = inside.map(({ name }) => name.slice(folder.length));
  if (!images.length) throw refusal(file, "it has no images");
  await session.clear();
  const problems: string[] = [];
  batch(() => {
    session.name.value = project.name;
    useProject(session.settings, project);
  });
  for (const [at, name] of images.entries()) {
    progress(at / images.length);
    try {
      const type = `image/${name.split(".").at(-1)!.toLowerCase().replace("jpg", "jpeg")}`;
      const image = new File([await entries[folder + name].blob()], name, { type });
      const entry = await session.store.add(image, name, at + 1, MOST_PIXELS);
      const known = await workOf(entries[`${top}work/${stem(name)}.zip`], name, project.words);
      const { width, height } = entry.state;
      const isFitting = known?.state.width === width && known.state.height === height;
      const state = isFitting ? { ...known.state, image: name } : entry.state;
      if (isFitting) await session.store.save({ ...entry, state }, { state, ...known.work });
      session.items.value = [...session.items.value, new Item({ ...entry, state }, session.store)];
    } catch (failure) {
      problems.push(sentence(failure));
    }
  }
  const [first] = session.items.value.filter(({ isDone }) => !isDone.value).concat(session.items.value);
  // an image may have been opened while others were still being read
  if (first && !session.opening.value) await session.open(first);
  if (problems.length) session.problem.value = listed(problems);
}

/** A project's zip, and the folder in it that has the project. */
async function opened(file: File): Promise<Pick<ZipInfo, "entries"> & { top: string; project: Project }> {
  try {
    const { entries } = await unzip(file).catch(() => {
      throw new Error("it is no zip");
    });
    const path = Object.keys(entries).find((name) => /^([^/]+\/)?project\.json$/.test(name));
    if (path === undefined) throw new Error("it has no project.json, so it is no project of segvoc");
    const project = (await entries[path].json()) as Project;
    const problem = problemOf(project);
    if (problem) throw new Error(problem);
    return { entries, top: path.slice(0, -"project.json".length), project };
  } catch (error) {
    throw refusal(file, error instanceof Error ? error.message : String(error));
  }
}

function refusal(file: File, problem: string): PageError {
  return new PageError(`“${file.name}” can't be opened: ${problem}.`);
}

/** The work on an image; null: nothing is known but the image. */
async function workOf(file: ZipEntry | undefined, image: string, words: Vocabulary) {
  try {
    return file ? await decodeWork(new Uint8Array(await file.arrayBuffer()), words) : null;
  } catch (error) {
    throw new PageError(`The labels of “${image}” can't be read (${error instanceof Error ? error.message : error}).`);
  }
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
  const hasOptions = typeof options === "object" && options !== null;
  const hasWords = Array.isArray(words) && words.every(isWord);
  if (typeof name !== "string" || !hasWords || !hasOptions) return "its project.json is damaged";
  if (new Set(words.map(({ id }) => id)).size < words.length) return "two of its words have one number";
  return null;
}
