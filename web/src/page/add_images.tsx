/** Buttons that bring images in. */

import { useState } from "preact/hooks";

import { Camera } from "./camera";
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

export interface FileButtonProps {
  label: string;
  isPrimary?: boolean;
  /** Take a photograph with the device's own camera program. */
  isCamera?: boolean;
  onFiles: (files: readonly File[]) => void;
}

export function FileButton({ label, isPrimary = false, isCamera = false, onFiles }: FileButtonProps) {
  return (
    <label class={isPrimary ? "file primary" : "file"}>
      <Icon name={isCamera ? "camera" : "image"} />
      {label}
      <input
        type="file"
        accept="image/*"
        multiple={!isCamera}
        {...(isCamera && { capture: "environment" })}
        onChange={({ currentTarget }) => {
          const files = [...(currentTarget.files ?? [])];
          // the same file can be chosen again
          currentTarget.value = "";
          if (files.length) onFiles(files);
        }}
      />
    </label>
  );
}
