/** The project as a file: saved as one zip, and opened from one. */

import { useState } from "preact/hooks";

import { sentence } from "../backend";
import { save } from "../saving/files";
import { loadProject, openProjectFile, projectZip } from "../saving/project_file";
import { Dialog } from "./dialog";
import { FileButton } from "./file_button";
import { Icon } from "./icons";
import type { Page } from "./page";
import { plural } from "./phrases";
import { useSavingAll } from "./unlabeled_dialog";

export function ProjectPanel({ page }: { page: Page }) {
  const { session } = page;
  const [share, setShare] = useState<number | null>(null);
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
  const all = useSavingAll(page, (chosen) => void busy(async () => save(await projectZip(session, chosen, setShare))));
  const saveShared = () =>
    void busy(async () => save({ name: `${session.name.value}.zip`, content: await session.store.archive()! }));
  const open = (file: File) =>
    void busy(async () => {
      session.offered.value = null;
      session.problem.value = null;
      await loadProject(session, await openProjectFile(file), setShare);
    });

  return (
    <div class="row project">
      <button type="button" disabled={!items.length || share !== null} onClick={isShared ? saveShared : all.press}>
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
      {all.question}
    </div>
  );
}
