/** The page's icons, and the controls that several parts of it have. */

import type { Signal } from "@preact/signals";
import type { ComponentChildren, InputHTMLAttributes, TargetedEvent } from "preact";

import { css } from "../imaging/palette";

const LINES = {
  look: "M3 12s3.5-6.5 9-6.5S21 12 21 12s-3.5 6.5-9 6.5S3 12 3 12Z M12 9.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 0 0 0-5.6Z",
  hidden:
    "M4 4l16 16 M9.5 5.8A9 9 0 0 1 12 5.5c5.5 0 9 6.5 9 6.5a17 17 0 0 1-3 3.7 M6.2 7.6A16 16 0 0 0 3 12s3.5 6.5 9 6.5a9 9 0 0 0 4-1",
  region: "M4 5v6.5l8.2 8.2a1.8 1.8 0 0 0 2.6 0l4.9-4.9a1.8 1.8 0 0 0 0-2.6L11.5 4H5a1 1 0 0 0-1 1Z M8 8h.01",
  click: "M10 10l10 4l-4.3 1.7L14 20Z M9 3v3 M3 9h3 M4.8 4.8l2.1 2.1 M13.2 4.8l-2.1 2.1 M4.8 13.2l2.1-2.1",
  brush: "M20 4c-4 1-9.5 6-11 9.5l1.5 1.5C14 13.5 19 8 20 4Z M9 13.5c-3 0-4 2-4 4c0 1-.7 2-2 2.5c4 1 8-.5 7.5-5Z",
  polygon: "M6 18L4 9l8-5l8 6l-4 8Z",
  objects: "M4 8a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z M12 16a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z M15 4l-6 16",
  eraser: "M9 20L3.8 14.8a1.8 1.8 0 0 1 0-2.6L12.3 3.8a1.8 1.8 0 0 1 2.6 0l5.3 5.3a1.8 1.8 0 0 1 0 2.6L12 20Z M8 8.2l7.9 7.9 M8 20h12.5",
  undo: "M8 5L4 9l4 4 M4 9h10a5.5 5.5 0 0 1 0 11h-3",
  redo: "M16 5l4 4l-4 4 M20 9H10a5.5 5.5 0 0 0 0 11h3",
  plus: "M12 5v14 M5 12h14",
  minus: "M5 12h14",
  fit: "M4 9V4h5 M15 4h5v5 M20 15v5h-5 M9 20H4v-5",
  bare: "M4 5h16v14H4Z M4 16l5-5l4 4l3-3l4 4 M8.5 9h.01",
  find: "M10.5 4.5a6 6 0 1 0 0 12a6 6 0 0 0 0-12Z M15 15l5 5",
  image: "M4 5h16v14H4Z M4 16l5-5l4 4l3-3l4 4 M15.5 8.5h.01",
  close: "M6 6l12 12 M18 6L6 18",
  help: "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 0 0 0-17Z M9.7 9.5a2.4 2.4 0 1 1 3.6 2.1c-.9.5-1.3 1-1.3 1.9 M12 16.5h.01",
  doubt: "M4 8V4h4 M16 4h4v4 M20 16v4h-4 M8 20H4v-4 M9.9 9.8a2.2 2.2 0 1 1 3.3 2c-.8.5-1.2.9-1.2 1.7 M12 16.3h.01",
  chart: "M4 20h16 M7 16v-5 M12 16V6 M17 16v-8",
  light:
    "M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8Z M12 2.5v2 M12 19.5v2 M2.5 12h2 M19.5 12h2 M5.3 5.3l1.4 1.4 M17.3 17.3l1.4 1.4 M5.3 18.7l1.4-1.4 M17.3 6.7l1.4-1.4",
  dark: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z",
  system: "M4 5h16v11H4Z M9 20h6 M12 16v4",
  save: "M12 4v11 M7.5 10.5L12 15l4.5-4.5 M5 19.5h14",
  trash: "M5 7h14 M9.5 7V4.5h5V7 M7 7l.8 12.5h8.4L17 7",
  done: "M5 12.5l4.5 4.5L19 7.5",
  accepted: "M2.5 12.5L7 17l8-8 M11 14.5l2.5 2.5L22 8.5",
  unlock: "M6 11h12v9H6Z M8.5 11V7.5a3.5 3.5 0 0 1 6.8-1.2",
  only: "M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16Z M12 9.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 0 0 0-5Z",
} as const;

export type IconName = keyof typeof LINES;

/** Decoration beside or inside of something that has a name. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={LINES[name]} />
    </svg>
  );
}

interface ButtonProps {
  text: string;
  icon?: IconName;
  /** The type of the file that it saves. */
  file?: string;
  /** Its accessible name, if the text alone doesn't say enough. */
  label?: string | undefined;
  title?: string | undefined;
  kind?: "primary" | "wide" | "link" | "retry";
  isDisabled?: boolean;
  onClick: () => unknown;
}

export function Button({ text, icon, file, label, title, kind, isDisabled = false, onClick }: ButtonProps) {
  return (
    <button
      type="button"
      class={kind}
      aria-label={label}
      title={title}
      disabled={isDisabled}
      onClick={() => void onClick()}
    >
      {icon && <Icon name={icon} />}
      {text}
      {file && <span class="type">{file}</span>}
    </button>
  );
}

interface IconButtonProps {
  icon: IconName;
  /** What it does; it appears beside the pointer, with the key that does the same. */
  label: string;
  shortcut?: string;
  /** Whether the Tab key passes it over, since arrow keys lead to it. */
  isSkipped?: boolean;
  onClick: () => void;
  /** Whether it is switched on; undefined: it is no switch. */
  isPressed?: boolean | undefined;
  isDisabled?: boolean;
}

export function IconButton({ icon, label, shortcut, isSkipped, onClick, isPressed, isDisabled = false }: IconButtonProps) {
  return (
    <button
      type="button"
      class="icon-button"
      aria-label={label}
      title={shortcut ? `${label} (${shortcut.toUpperCase()})` : label}
      aria-pressed={isPressed}
      tabIndex={isSkipped ? -1 : 0}
      disabled={isDisabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

interface HoldButtonProps {
  icon: IconName;
  label: string;
  onHold: (isHeld: boolean) => void;
}

/** A button that acts as long as it is held, with a pointer or with keys. */
export function HoldButton({ icon, label, onHold }: HoldButtonProps) {
  const end = () => onHold(false);
  return (
    <button
      type="button"
      class="icon-button hold"
      aria-label={label}
      title={label}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        onHold(true);
      }}
      onPointerUp={end}
      onPointerCancel={end}
      onContextMenu={(event) => event.preventDefault()}
      onKeyDown={({ key }) => (key === " " || key === "Enter") && onHold(true)}
      onKeyUp={end}
      onBlur={end}
    >
      <Icon name={icon} />
    </button>
  );
}

interface TextFormProps {
  label: string;
  text: Signal<string>;
  /** What the button says. */
  submit: string;
  field?: InputHTMLAttributes;
  onSubmit: (text: string) => void;
  children?: ComponentChildren;
}

/** A field with a text, and a button that sends it off. */
export function TextForm({ label, text, submit, onSubmit, field = { type: "text" }, children }: TextFormProps) {
  const send = (event: Event) => {
    event.preventDefault();
    onSubmit(text.value);
  };
  const type = ({ currentTarget: { value } }: TargetedEvent<HTMLInputElement>) => (text.value = value);
  return (
    <form class="column" onSubmit={send}>
      <label class="field">
        {label}
        <input value={text.value} onInput={type} {...field} />
      </label>
      {children}
      <button type="submit" class="primary">
        {submit}
      </button>
    </form>
  );
}

/** The color of a word; null: that of no word. */
export function Swatch({ color }: { color: readonly number[] | null }) {
  return <span class={color ? "swatch" : "swatch none"} style={color ? { background: css(color) } : {}} />;
}

/** A box to check for something that is on or off. */
export function Toggle({ text, value }: { text: string; value: Signal<boolean> }) {
  return (
    <Check isChecked={value.value} onChange={(isChecked) => (value.value = isChecked)}>
      {text}
    </Check>
  );
}

interface CheckProps {
  isChecked: boolean;
  isDisabled?: boolean;
  onChange: (isChecked: boolean) => void;
  children: ComponentChildren;
}

export function Check({ isChecked, isDisabled = false, onChange, children }: CheckProps) {
  const change = ({ currentTarget: { checked } }: TargetedEvent<HTMLInputElement>) => onChange(checked);
  return (
    <label class="check">
      <input type="checkbox" checked={isChecked} disabled={isDisabled} onChange={change} />
      {children}
    </label>
  );
}

export function RemoveButton({ name, onClick }: { name: string; onClick: () => void }) {
  return (
    <button type="button" class="remove" aria-label={`Remove ${name}`} onClick={onClick}>
      <Icon name="close" />
    </button>
  );
}

interface SelectProps<Value extends string> {
  label: string;
  /** Values, and what is shown of them. */
  options: readonly (readonly [Value, string])[];
  value: Value | undefined;
  onChange: (value: Value) => void;
}

export function Select<Value extends string>({ label, options, value, onChange }: SelectProps<Value>) {
  return (
    <select aria-label={label} value={value} onChange={({ currentTarget }) => onChange(currentTarget.value as Value)}>
      {options.map(([option, shown]) => (
        <option key={option} value={option}>
          {shown}
        </option>
      ))}
    </select>
  );
}

interface FileButtonProps {
  label: string;
  isPrimary?: boolean;
  icon?: IconName;
  /** Types or endings of the files. */
  accept?: string;
  onFiles: (files: readonly File[]) => void;
}

export function FileButton({ label, isPrimary = false, icon = "image", accept = "image/*", onFiles }: FileButtonProps) {
  return (
    <label class={isPrimary ? "file primary" : "file"}>
      <Icon name={icon} />
      {label}
      <input
        type="file"
        accept={accept}
        multiple
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
