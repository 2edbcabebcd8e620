/** Teaches the model of a service with the images of its project that are done. */

import { computed, signal } from "@preact/signals";

import { sentence } from "../backend";
import type { ProjectApi } from "../project/api";
import { pause } from "../project/connection";
import type { Session } from "./session";

/** IoU and right pixels on images that were held out [%]; null: none shows the word. */
interface Scores {
  readonly miou: number | null;
  readonly accuracy: number | null;
  readonly words: Readonly<Record<string, number | null>>;
}

/** How far the service is with learning from the images that are done, or how it ended. */
export interface ImprovementProgress {
  readonly state: "none" | "running" | "done" | "failed" | "canceled";
  readonly stage: string | null;
  /** Of all work, in [0, 1]. */
  readonly share: number | null;
  readonly images: number;
  /** `keep_text`: words that keep their text alone, as examples made them worse; null: there is nothing to gain. */
  readonly scores: { readonly before: Scores; readonly after: Scores; readonly keep_text: readonly string[] } | null;
  readonly message: string | null;
  readonly can_finetune: boolean;
}

/** Images that are done, at least: one is held out. */
export const FEWEST = 2;

/** How often the service is asked how far it is [ms]. */
const LOOK = 1000;

export class Improvement {
  /** Empty until the service told it. */
  readonly progress = signal<Partial<ImprovementProgress>>({});
  /** How many images are learned from, and how many of them a person never corrected. */
  readonly done = computed(() => {
    const states = this.session.items.value.map(({ summary }) => summary.value).filter(({ done }) => done);
    return {
      all: states.length,
      untouched: states.filter(({ corrected, source }) => !corrected && source !== "import").length,
    };
  });

  constructor(
    private readonly session: Session,
    private readonly api: ProjectApi,
  ) {}

  get isOffered(): boolean {
    return this.session.model.value !== null && this.session.store.may("administer");
  }

  async look(): Promise<void> {
    try {
      await this.follow(this.ask("GET"));
    } catch {
      // it says so itself when it is asked to improve
    }
  }

  async start(finetune: boolean): Promise<void> {
    const { value: before } = this.progress;
    this.progress.value = { ...before, state: "running", stage: null, share: null };
    try {
      await this.session.sent();
      await this.follow(this.ask("POST", { finetune }));
    } catch (failure) {
      this.progress.value = { ...before, state: "failed", message: sentence(failure) };
    }
  }

  async cancel(): Promise<void> {
    this.progress.value = await this.ask("DELETE");
  }

  private ask(method: string, body?: object): Promise<ImprovementProgress> {
    return this.api.json(method, "/improvement", body && { body });
  }

  /** Ask the service how far it is until it has ended; its new words come as a change of the project. */
  private async follow(first: Promise<ImprovementProgress>): Promise<void> {
    this.progress.value = await first;
    while (this.progress.value.state === "running") {
      await pause(LOOK);
      // somebody may have canceled it meanwhile
      if (this.progress.value.state === "running") this.progress.value = await this.ask("GET");
    }
  }
}
