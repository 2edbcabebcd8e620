/** A button that lets the user choose files with images. */

import { Icon } from "./icons";

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
