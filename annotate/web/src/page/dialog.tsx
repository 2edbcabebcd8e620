/** A dialog over the page; Escape and a click beside it close it. */

import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import type { Point, Size } from "../labels/runs";
import { Button, IconButton } from "./buttons";
import type { Page } from "./page";

interface DialogProps {
  title: string;
  /** Where its upper left corner is, given its size; without it, it is in the middle [px of the window]. */
  place?: ((size: Size) => Point) | undefined;
  onClose: () => void;
  /** What a click beside it does; without it, it closes the dialog. @param at its place [px of the window]. */
  onBeside?: (at: Point) => void;
  children: ComponentChildren;
}

interface QuestionProps extends Omit<DialogProps, "place" | "onBeside"> {
  yes: string;
  no?: string;
  onYes: () => void;
}

export function ask({ dialog }: Page, question: Omit<QuestionProps, "onClose">): void {
  dialog.value = (close) => <Question {...question} onClose={close} />;
}

export function Question({ yes, no = "Cancel", onYes, onClose, children, ...props }: QuestionProps) {
  const act = () => {
    onClose();
    onYes();
  };
  return (
    <Dialog {...props} onClose={onClose}>
      <p>{children}</p>
      <div class="row">
        <Button text={yes} kind="primary" onClick={act} />
        <Button text={no} onClick={onClose} />
      </div>
    </Dialog>
  );
}

export function Dialog({ title, place, onClose, onBeside = onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();
  /** Whether a press began beside it: the one that opened it isn't over yet. */
  const isBeside = useRef(false);

  // no key comes between what opens it and its focus
  useLayoutEffect(() => {
    const dialog = element.current!;
    dialog.showModal();
    const at = place?.({ width: dialog.offsetWidth, height: dialog.offsetHeight });
    // what it shows later doesn't lead it out of the window
    if (at) Object.assign(dialog.style, { left: `${at.x}px`, top: `${at.y}px`, maxHeight: `${innerHeight - at.y}px` });
    return () => dialog.close();
  }, []);

  return (
    <dialog
      ref={element}
      class={place ? "beside" : ""}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onPointerDown={(event) => (isBeside.current = event.target === event.currentTarget)}
      onClick={({ clientX, clientY, currentTarget, target }) => isBeside.current && target === currentTarget && onBeside({ x: clientX, y: clientY })}
    >
      <div class="dialog">
        <header>
          <h2 id={heading}>{title}</h2>
          <IconButton icon="close" label="Close" onClick={onClose} />
        </header>
        {children}
      </div>
    </dialog>
  );
}
