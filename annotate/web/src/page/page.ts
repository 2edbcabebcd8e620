/** What every component of the page works with. */

import type { Signal } from "@preact/signals";

import type { ProjectApi } from "../project/api";
import type { Exports } from "../session/exports";
import type { Improvement } from "../session/improvement";
import type { Labeler } from "../session/labeler";
import type { Session } from "../session/session";
import type { Place } from "../session/settings";
import type { StageControl } from "./stage/control";

export interface Page {
  readonly session: Session;
  readonly labeler: Labeler;
  readonly improvement: Improvement;
  /** The project on a service, and datasets that it makes; null: the project is this browser's. */
  readonly api: ProjectApi | null;
  readonly exports: Exports | null;
  readonly control: StageControl;
  readonly places: readonly Place[];
  readonly useKey: (key: string) => void;
  /** The name of who labels, for the service's project. */
  readonly user: Signal<string> | null;
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** A share as it is read: "13 %". */
export function percent(fraction: number): string {
  return fraction >= 0.01 || fraction === 0 ? `${Math.round(100 * fraction)} %` : "< 1 %";
}
