/** The page's icons, and the controls that several parts of it have. */

import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren, InputHTMLAttributes, TargetedEvent } from "preact";
import { useEffect, useState } from "preact/hooks";

import { css } from "../imaging/palette";
/** A path for each icon, on 24 × 24 units. */
import lines from "./icons.json";

export type IconName = keyof typeof lines;

/** Decoration beside or inside of something that has a name. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={lines[name]} />
    </svg>
  );
}

interface ButtonProps {
  text: string;
  icon?: IconName;
  /** Its accessible name, if the text alone doesn't say enough. */
  label?: string | undefined;
  title?: string | undefined;
  kind?: "primary" | "wide" | "link" | "retry" | "refused";
  /** Why it can't be pressed; null: it can. */
  reason?: string | null;
  onClick: () => unknown;
}

export function Button({ text, icon, label, title, kind, reason = null, onClick }: ButtonProps) {
  return (
    <button
      type="button"
      class={kind}
      aria-label={label}
      title={reason ?? title}
      disabled={reason !== null}
      onClick={() => void onClick()}
    >
      {icon && <Icon name={icon} />}
      {text}
    </button>
  );
}

interface IconButtonProps {
  icon: IconName;
  /** What it does; it appears beside the pointer, with the key that does the same. */
  label: string;
  /** What stands below the icon, and is a part of the label. */
  name?: string;
  shortcut?: string;
  /** What else is told beside the pointer. */
  help?: string;
  /** Whether the Tab key passes it over, since arrow keys lead to it. */
  isSkipped?: boolean;
  onClick: () => void;
  /** Whether it is switched on; undefined: it is no switch. */
  isPressed?: boolean | undefined;
  /** Why it can't be pressed; null: it can. */
  reason?: string | null;
}

export function IconButton({ icon, label, name, shortcut, help, isSkipped, onClick, isPressed, reason = null }: IconButtonProps) {
  const told = shortcut ? `${label} (${shortcut.toUpperCase()})` : label;
  return (
    <button
      type="button"
      class={name ? "icon-button named" : "icon-button"}
      aria-label={label}
      title={[told, reason ?? help].filter(Boolean).join(": ")}
      aria-pressed={isPressed}
      tabIndex={isSkipped ? -1 : 0}
      disabled={reason !== null}
      onClick={onClick}
    >
      <Icon name={icon} />
      {name}
    </button>
  );
}

interface HoldButtonProps extends Pick<IconButtonProps, "icon" | "label" | "name"> {
  onHold: (isHeld: boolean) => void;
}

/** A button that acts as long as it is held, with a pointer or with keys. */
export function HoldButton({ icon, label, name, onHold }: HoldButtonProps) {
  const end = () => onHold(false);
  return (
    <button
      type="button"
      class="icon-button named hold"
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
      {name}
    </button>
  );
}

interface TypedInputProps {
  text: string;
  onTyped: (text: string) => void;
  field: InputHTMLAttributes;
}

/** A field whose text counts once somebody leaves it or presses Enter; what is being typed stays, whatever else changes. */
export function TypedInput({ text, onTyped, field }: TypedInputProps) {
  const typed = useSignal<string | null>(null);
  const take = ({ currentTarget: { value } }: TargetedEvent<HTMLInputElement>) => {
    typed.value = null;
    onTyped(value);
  };
  return (
    <input
      value={typed.value ?? text}
      onInput={({ currentTarget: { value } }) => (typed.value = value)}
      onChange={take}
      onBlur={() => (typed.value = null)}
      {...field}
    />
  );
}

interface TextFormProps {
  label: string;
  /** What is typed, if others change it, too. */
  text?: Signal<string>;
  submit: string;
  field?: InputHTMLAttributes;
  onSubmit: (text: string) => void;
  children?: ComponentChildren;
}

export function TextForm({ label, text, submit, onSubmit, field = { type: "text" }, children }: TextFormProps) {
  const own = useSignal(""),
    typed = text ?? own;
  const send = (event: Event) => {
    event.preventDefault();
    onSubmit(typed.value);
  };
  const type = ({ currentTarget: { value } }: TargetedEvent<HTMLInputElement>) => (typed.value = value);
  return (
    <form class="column" onSubmit={send}>
      <label class="field">
        {label}
        <input value={typed.value} onInput={type} {...field} />
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

interface TableProps {
  label: string;
  /** Whether the label is seen. */
  hasCaption?: boolean;
  head?: readonly string[];
  /** The cells of each row, of which the first says what it is about. */
  rows: readonly (readonly ComponentChildren[])[];
}

export function Table({ label, hasCaption = false, head = [], rows }: TableProps) {
  return (
    <div class="figures" tabIndex={0} role="region" aria-label={label}>
      <table>
        <caption class={hasCaption ? "help" : "hidden"}>{label}</caption>
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, ...cells], row) => (
            <tr key={row}>
              <th scope="row">{name}</th>
              {cells.map((cell, at) => (
                <td key={at}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** An address of content for an image on the page, for as long as it is needed; null: it isn't there yet, or is missing. */
export function useAddress(read: () => Promise<Blob>, of: unknown): string | null {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    let isGone = false;
    const made = read().then((content) => URL.createObjectURL(content), () => null);
    void made.then((one) => isGone || setAddress(one));
    return () => {
      isGone = true;
      setAddress(null);
      void made.then((one) => one && URL.revokeObjectURL(one));
    };
  }, [of]);
  return address;
}

interface SelectProps<Value extends string> {
  label: string;
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
