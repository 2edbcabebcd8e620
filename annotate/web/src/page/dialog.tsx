/** A dialog over the page; Escape and a click beside it close it. */

import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

import type { Point } from "../labels/runs";
import { Button, IconButton } from "./buttons";
import type { Page } from "./page";

interface DialogProps {
  title: string;
  /** Where it appears on a wide screen [px of the window], or above that if it ends below; else in the middle. */
  at?: Point | undefined;
  onClose: () => void;
  children: ComponentChildren;
}

interface QuestionProps extends Omit<DialogProps, "at"> {
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

export function Dialog({ title, at, onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const heading = useId();

  // no key comes between what opens it and its focus
  useLayoutEffect(() => {
    const dialog = element.current!;
    dialog.showModal();
    if (at) dialog.style.top = `${Math.max(0, Math.min(at.y, innerHeight - dialog.offsetHeight))}px`;
    return () => dialog.close();
  }, []);

  return (
    <dialog
      ref={element}
      class={at ? "beside" : ""}
      style={at ? { left: `${at.x}px`, top: `${at.y}px` } : {}}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => event.target === event.currentTarget && onClose()}
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
