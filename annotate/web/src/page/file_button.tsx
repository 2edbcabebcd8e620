/** A button that lets the user choose files, with images unless it says otherwise. */

import { Icon, type IconName } from "./icons";

export interface FileButtonProps {
  label: string;
  isPrimary?: boolean;
  /** Take a photograph with the device's own camera program. */
  isCamera?: boolean;
  icon?: IconName;
  /** Types or endings of the files. */
  accept?: string;
  onFiles: (files: readonly File[]) => void;
}

export function FileButton({
  label,
  isPrimary = false,
  isCamera = false,
  icon = isCamera ? "camera" : "image",
  accept = "image/*",
  onFiles,
}: FileButtonProps) {
  return (
    <label class={isPrimary ? "file primary" : "file"}>
      <Icon name={icon} />
      {label}
      <input
        type="file"
        accept={accept}
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
