/** Images, lists of words, and taught words that are dropped on the page or pasted into it. */

import { useEffect, useState } from "preact/hooks";

import { withWords, wordsOfFile } from "../words/list";
import type { Session } from "../session/session";
import type { Page } from "./page";

/** Files with words: one in each line, or a JSON list. */
const LISTS = /\.(txt|json)$/i;

/** Files of taught words. */
const TAUGHT = /\.safetensors$/i;

/** A project. */
const ZIP = /\.zip$/i;

/** Takes what is dropped and pasted; true while a file is dragged over the page. */
export function useDroppedAndPasted(page: Page): boolean {
  const [isOver, setOver] = useState(false);

  useEffect(() => {
    const ending = new AbortController(),
      { signal } = ending;
    window.addEventListener("paste", (event) => void (take(page, event.clipboardData) && event.preventDefault()), {
      signal,
    });
    window.addEventListener(
      "drop",
      (event) => {
        event.preventDefault();
        setOver(false);
        if (!take(page, event.dataTransfer)) page.session.problem.value = "That was no file; drop images from a folder.";
      },
      { signal },
    );
    window.addEventListener(
      "dragover",
      (event) => {
        event.preventDefault();
        setOver(true);
      },
      { signal },
    );
    window.addEventListener("dragleave", (event) => event.relatedTarget || setOver(false), { signal });
    return () => ending.abort();
  }, []);

  return isOver;
}

/** Take the files of a drop or paste; false: it has none. */
function take({ session, labeler }: Page, data: DataTransfer | null): boolean {
  const files = [...(data?.files ?? [])];
  const lists = files.filter(({ name }) => LISTS.test(name));
  for (const list of lists) void list.text().then((text) => addWords(session, list.name, text));
  const taught = files.filter(({ name }) => TAUGHT.test(name));
  if (taught.length) void labeler.teach(taught);
  const project = files.find(({ name }) => ZIP.test(name));
  if (project) session.offered.value = project;
  const images = files.filter((file) => !lists.includes(file) && !taught.includes(file) && file !== project);
  if (images.length) void session.add(images);
  return files.length > 0;
}

function addWords({ problem, settings: { words } }: Session, name: string, text: string): void {
  const added = wordsOfFile(name, text);
  if (!added.length) {
    problem.value = `“${name}” has no list of words; write one in each line.`;
    return;
  }
  const { words: all, note } = withWords(words.value, added);
  words.value = all;
  problem.value = note;
}
