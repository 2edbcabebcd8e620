/** Shows two versions of an image that can't be put together without losing something, and asks for one. */

import { useEffect, useRef } from "preact/hooks";

import { drawnColors, drawnLabels, overlay } from "../imaging/overlay";
import { pixelsOf } from "../imaging/reading";
import { labelingOf } from "../project/keeping";
import type { Work } from "../project/structure";
import { contextOf } from "../session/settings";
import type { AskedConflict } from "../session/watching";
import { Dialog } from "./dialog";
import type { Page } from "./page";

export function ConflictDialog({ page, asked: { conflict, answer } }: { page: Page; asked: AskedConflict }) {
  const { by, id, isDone } = conflict;
  const other = by ?? "Somebody";
  return (
    <Dialog title="Two versions of this image" onClose={() => answer("both")}>
      <p>
        {isDone ? `${other} marked “${id}” as done meanwhile.` : `${other} painted the same pixels of “${id}” meanwhile.`}{" "}
        Nothing is lost yet: choose what holds.
      </p>
      <div class="versions">
        <Version page={page} id={id} work={conflict.mine} title="Mine" />
        <Version page={page} id={id} work={conflict.theirs} title={`Of ${by ?? "somebody else"}`} />
      </div>
      <div class="column">
        <button type="button" class="primary" onClick={() => answer("both")}>
          Combine (mine on top)
        </button>
        <button type="button" onClick={() => answer("mine")}>
          Keep mine
        </button>
        <button type="button" onClick={() => answer("theirs")}>
          Take theirs
        </button>
      </div>
    </Dialog>
  );
}

function Version({ page: { session }, id, work, title }: { page: Page; id: string; work: Work; title: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const item = session.items.value.find((one) => one.id === id);
    const draw = async () => {
      if (!item) return;
      const bitmap = await item.decode();
      const labeling = labelingOf(item, work, contextOf(session.settings));
      const drawn = overlay(pixelsOf(bitmap, item.name), drawnLabels(labeling), drawnColors(labeling), 0.6);
      bitmap.close();
      Object.assign(canvas.current!, { width: item.width, height: item.height });
      canvas.current!.getContext("2d")!.putImageData(new ImageData(drawn, item.width, item.height), 0, 0);
    };
    void draw();
  }, []);
  return (
    <figure>
      <canvas ref={canvas} role="img" aria-label={title} />
      <figcaption>{title}</figcaption>
    </figure>
  );
}
