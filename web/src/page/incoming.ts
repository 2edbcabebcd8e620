/** Images, and lists of words, that are dropped on the page or pasted into it. */

import { useEffect, useState } from "preact/hooks";

import { withWords, wordsOfFile } from "../words/list";
import type { Session } from "../session/session";

/** Files with words: one in each line, or a JSON list. */
const LISTS = /\.(txt|json)$/i;

/** Takes what is dropped and pasted; true while a file is dragged over the page. */
export function useDroppedAndPasted(session: Session): boolean {
  const [isOver, setOver] = useState(false);

  useEffect(() => {
    const ending = new AbortController(),
      { signal } = ending;
    window.addEventListener("paste", (event) => void (take(session, event.clipboardData) && event.preventDefault()), {
      signal,
    });
    window.addEventListener(
      "drop",
      (event) => {
        event.preventDefault();
        setOver(false);
        if (!take(session, event.dataTransfer)) session.problem.value = "That was no file; drop images from a folder.";
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
function take(session: Session, data: DataTransfer | null): boolean {
  const files = [...(data?.files ?? [])];
  const lists = files.filter(({ name }) => LISTS.test(name));
  for (const list of lists) void list.text().then((text) => addWords(session, list.name, text));
  const images = files.filter((file) => !lists.includes(file));
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
