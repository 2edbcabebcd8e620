/** The project as a file: saved as one zip, and opened from one. */

import { useState } from "preact/hooks";

import { sentence } from "../backend";
import { save } from "../saving/files";
import { loadProject, openProjectFile, projectZip } from "../saving/project_file";
import type { Item } from "../session/item";
import { Dialog } from "./dialog";
import { FileButton } from "./file_button";
import { Icon } from "./icons";
import { plural, type Page } from "./page";
import { UnlabeledDialog } from "./unlabeled_dialog";

export function ProjectPanel({ page }: { page: Page }) {
  const { session, labeler } = page;
  const [share, setShare] = useState<number | null>(null);
  const [asked, setAsked] = useState<"asked" | "waiting" | null>(null);
  const items = session.items.value,
    offered = session.offered.value;
  const { isShared } = session.store;
  /** Do what takes a while, and tell what goes wrong. */
  const busy = async (act: () => Promise<void>) => {
    setShare(0);
    try {
      await act();
    } catch (failure) {
      session.problem.value = sentence(failure);
    }
    setShare(null);
  };
  const saveAll = (all: readonly Item[]) => {
    setAsked(null);
    void busy(async () => save(await projectZip(session, all, setShare)));
  };
  const saveShared = () =>
    void busy(async () => save({ name: `${session.name.value}.zip`, content: await session.store.archive()! }));
  const isAllLabeled = () => items.every((item) => labeler.isLabeled(item));
  const press = () => (isShared ? saveShared() : isAllLabeled() ? saveAll(items) : setAsked("asked"));
  const open = (file: File) =>
    void busy(async () => {
      session.offered.value = null;
      session.problem.value = null;
      await loadProject(session, await openProjectFile(file), setShare);
    });

  return (
    <div class="row project">
      <button type="button" disabled={!items.length || share !== null} onClick={press}>
        <Icon name="save" />
        {share === null ? "Save project" : `Project: ${Math.floor(100 * share)} %`}
      </button>
      {!isShared && (
        <FileButton
          label="Open project"
          icon="image"
          accept=".zip"
          onFiles={([file]) => (items.length ? (session.offered.value = file) : open(file))}
        />
      )}
      {offered && !isShared && (
        <Dialog title={`Open “${offered.name}”?`} onClose={() => (session.offered.value = null)}>
          {items.length > 0 && (
            <p>It takes the place of the {plural(items.length, "image")} here; save them first if you need them.</p>
          )}
          <div class="row">
            <button type="button" class="primary" onClick={() => open(offered)}>
              Open it
            </button>
            <button type="button" onClick={() => (session.offered.value = null)}>
              Stay here
            </button>
          </div>
        </Dialog>
      )}
      {asked && (
        <UnlabeledDialog
          page={page}
          isWaiting={asked === "waiting"}
          onWait={() => setAsked("waiting")}
          onSave={saveAll}
          onClose={() => setAsked(null)}
        />
      )}
    </div>
  );
}
