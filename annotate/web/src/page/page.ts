/** What every component of the page works with. */

import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

import type { ProjectApi } from "../project/api";
import type { RemoteStore } from "../project/remote_store";
import type { VideoFrame } from "../project/structure";
import type { Exports } from "../session/exports";
import type { Improvement } from "../session/improvement";
import type { Labeler } from "../session/labeler";
import type { Session } from "../session/session";
import type { Place } from "../session/settings";
import type { StageControl } from "./stage/control";

/** What only a project on a service has. */
export interface Served {
  readonly api: ProjectApi;
  readonly store: RemoteStore;
  readonly exports: Exports;
  readonly improvement: Improvement;
  /** The name of who labels. */
  readonly user: Signal<string>;
}

export interface Page {
  readonly session: Session;
  readonly labeler: Labeler;
  /** null: the project is this browser's. */
  readonly served: Served | null;
  readonly control: StageControl;
  readonly places: readonly Place[];
  /** The dialog that is open, given how to close it; null: none. */
  readonly dialog: Signal<((close: () => void) => ComponentChildren) | null>;
  readonly useKey: (key: string) => void;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A share as it is read: "13 %". */
export function percent(fraction: number): string {
  return fraction >= 0.01 || fraction === 0 ? `${Math.round(100 * fraction)} %` : "< 1 %";
}

/** Where a frame is in its video: "1:02.4", or its number where the time isn't known. */
export function placeInVideo({ number, time }: VideoFrame): string {
  if (time === null) return `frame ${number}`;
  const tenths = Math.round(10 * time);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}
