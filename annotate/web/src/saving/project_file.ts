/** A project as one zip: as the page and the service save it, and as `segvoc annotate` opens it. */

import { batch } from "@preact/signals";
import { unzip, type ZipEntry, type ZipInfo } from "unzipit";

import { PageError, sentence } from "../backend";
import { MOST_PIXELS } from "../imaging/reading";
import { objectMap } from "../labels/objects";
import { labelingOf } from "../project/keeping";
import type { UnsentProject, UnsentWork } from "../project/outbox";
import type { RemoteStore } from "../project/remote_store";
import { type ImageState, type Project, stem, type Work } from "../project/structure";
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
  async function* files() {
    yield projectJson(session);
    for (const [at, item] of items.entries()) {
      progress(at / items.length);
      yield* imageFiles(session, item.summary.value, await session.keptWork(item), await item.file());
    }
  }
  return { name: `${session.name.value}.zip`, content: await zipped(files()) };
}

/** What a service refused, as a project of one image that can be opened, or as one of the words alone. */
export async function refusedZip(session: Session, store: RemoteStore, unsent: UnsentWork | UnsentProject): Promise<OfferedFile> {
  async function* files() {
    yield projectJson(session);
    if (unsent.kind === "project") return;
    // the service may not have the image any more
    const file = await store.file(unsent.image).catch(() => null);
    yield* imageFiles(session, unsent.state, await store.workWith(unsent), file);
  }
  const name = unsent.kind === "project" ? session.name.value : stem(unsent.state.image);
  return { name: `${name} refused.zip`, content: await zipped(files()) };
}

function projectJson(session: Session): ZippedFile {
  const { words, options: own } = projectOf(session.settings);
  const options = { model: session.model.value?.name ?? "tiny", ...own, taught: [] };
  // what is opened elsewhere is a project of its own
  const about = { format: FORMAT, version: VERSION, id: crypto.randomUUID(), name: session.name.value, revision: 1, images: "images" };
  return { name: "project.json", input: JSON.stringify({ ...about, words, options }, null, 1) };
}

async function* imageFiles(session: Session, summary: ImageState, work: Work, file: Blob | null): AsyncGenerator<ZippedFile> {
  const context = contextOf(session.settings);
  const own = stem(summary.image);
  if (file) yield { name: `images/${summary.image}`, input: file };
  // fractions of a second are more than other programs read
  const state = { ...summary, at: summary.at?.replace(/\.\d+Z$/, "Z") ?? null };
  if (!state.revision) return;
  const labeling = labelingOf(state, work, context);
  yield { name: `work/${own}.zip`, input: await encodeWork(state, work, context) };
  yield { name: `labels/${own}.png`, input: labelsPng(labeling.labels, labeling, context.vocabulary) };
  const objects = objectMap(labeling);
  if (objects) yield { name: `objects/${own}.png`, input: grayPng(objects, labeling) };
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
