/** What a tool of the stage is. Each has a file of its own in `tools/`, and `control.ts` lists them. */

import type { ReadonlySignal } from "@preact/signals";
import type { ComponentChildren } from "preact";

import type { Box, Point } from "../../labels/runs";
import type { IconName } from "../buttons";
import type { Pen } from "./painter";
import type { Workbench } from "./workbench";

export interface Press {
  /** Whether it is the right button of the mouse. */
  readonly isSecondary: boolean;
  /** Whether it is a finger, which is less exact than a mouse or a pen. */
  readonly isTouch: boolean;
  readonly shiftKey: boolean;
  readonly altKey: boolean;
}

/** A press of the left button. */
export const CLICK: Press = { isSecondary: false, isTouch: false, shiftKey: false, altKey: false };

/** A key, or something else that is done, and what it means, as the help lists it. */
export type Key = readonly [string, string];

/** Places are in pixels of the image, and may lie outside of it. */
export abstract class Tool {
  abstract readonly icon: IconName;
  abstract readonly label: string;
  /** What stands below its icon, if that isn't its label. */
  readonly short?: string;
  abstract readonly key: string;
  abstract readonly help: string;
  readonly keys: readonly Key[] = [];
  readonly pointer: "grab" | "pointer" | "crosshair" = "crosshair";
  /** Whether it changes labels, so that it can't be used where they are locked. */
  readonly isEditing: boolean = true;
  /** Whether the word below the pointer is told. */
  readonly isReading: boolean = true;
  /** Whether it has a use for the right button of the mouse. */
  readonly hasSecondary: boolean = false;
  /** Radius of the ring around the pointer [px of the image]; without it, the ring is small at any zoom. */
  readonly radius?: ReadonlySignal<number>;
  /** What it draws on the stage depends on these, besides the view and the cursor. */
  readonly seen: readonly ReadonlySignal<unknown>[] = [];

  constructor(readonly work: Workbench) {}

  /** Without it, a press is a drag, however short. */
  tap?(at: Point, press: Press): void;
  /** A second tap soon after the first, which was told as well. */
  tapTwice?(at: Point): void;
  /** Begin a drag; false: dragging moves the image. */
  grab?(at: Point, press: Press): boolean;
  drag?(from: Point, to: Point): void;
  drop?(press: Press): void;
  /** Take back what was dragged, since the drag became a pinch. */
  cancel?(): void;
  /** Do what a key means while the tool is chosen, before it means anything else; false: it means nothing. */
  press?(event: KeyboardEvent): boolean;
  /** Take back the last step of what was begun; false: there is none. */
  takeBack?(): boolean;
  /** Forget what was begun, since Escape was pressed, or another image chosen; false: there was nothing. */
  leave(): boolean {
    return false;
  }
  /** Paint what was begun as far as it can be, and forget the rest, since another tool is chosen or the image is done. */
  finish(): Promise<void> | void {
    this.leave();
  }
  draw?(pen: Pen): void;
  options?(): ComponentChildren;
  /** What it tells over the stage. */
  message?(): ComponentChildren;
  /** What it shows over the stage, which is at a place of the window [CSS px]. */
  panel?(stage: Box): ComponentChildren;
}
