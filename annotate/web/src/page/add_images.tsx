/** Buttons that bring images in. */

import { useState } from "preact/hooks";

import { Camera } from "./camera";
import { FileButton } from "./file_button";
import { Icon, IconButton } from "./icons";
import type { Page } from "./page";

export function AddImages({ page: { session }, isCompact = false }: { page: Page; isCompact?: boolean }) {
  const [isFilming, setFilming] = useState(false);
  const add = (files: readonly File[]) => void session.add(files);
  return (
    <>
      <FileButton label={isCompact ? "Add" : "Choose images"} isPrimary={!isCompact} onFiles={add} />
      {isCompact ? (
        <IconButton icon="camera" label="Camera" onClick={() => setFilming(true)} />
      ) : (
        <button type="button" onClick={() => setFilming(true)}>
          <Icon name="camera" />
          Camera
        </button>
      )}
      {!isCompact && (
        <button type="button" onClick={() => void session.addExample()}>
          Try an example
        </button>
      )}
      {isFilming && (
        <Camera
          onPhotograph={(file) => {
            setFilming(false);
            add([file]);
          }}
          onClose={() => setFilming(false)}
        />
      )}
    </>
  );
}
