/** Teaches the model of a service with the images of its project that are done. */

import { computed, signal } from "@preact/signals";

import { PageError, sentence } from "../backend";
import type { ProjectApi } from "../project/api";
import type { Session } from "./session";

/** Images that are done, at least: one is held out. */
export const FEWEST = 2;

/** How often the service is asked how far it is [ms]. */
const LOOK = 1000;

/** What teaching gained, on images that were held out [%]. */
export interface Gains {
  /** Images that words were taught with. */
  readonly images: number;
  readonly before: Means;
  readonly after: Means;
  readonly words: readonly WordGains[];
}

/** IoU of a word by its text, and with examples [%]; null: no held-out image shows it. */
interface WordGains {
  readonly name: string;
  readonly before: number | null;
  readonly after: number | null;
  /** Whether it keeps its text alone, because examples made it worse. */
  readonly keepsText: boolean;
}

interface Means {
  readonly miou: number | null;
  readonly accuracy: number | null;
}

/** How far it is, or how it ended. */
type ImprovementState =
  | { readonly kind: "none" | "canceled" }
  /** `share`: of all work, in [0, 1]. */
  | { readonly kind: "running"; readonly stage: string; readonly share: number }
  /** `gains`: null if there is nothing to gain, which `message` says. */
  | { readonly kind: "done"; readonly gains: Gains | null; readonly message: string | null }
  | { readonly kind: "failed"; readonly message: string };

/** What the service says. */
interface Answer {
  readonly state: "none" | "running" | "done" | "failed" | "canceled";
  readonly stage: string | null;
  readonly share: number | null;
  readonly images: number;
  readonly scores: { readonly before: Scores; readonly after: Scores; readonly keep_text: readonly string[] } | null;
  readonly message: string | null;
  readonly can_finetune: boolean;
}

interface Scores extends Means {
  readonly words: Readonly<Record<string, number | null>>;
}

export class Improvement {
  readonly state = signal<ImprovementState>({ kind: "none" });
  readonly canFinetune = signal(false);
  /** How many images are learned from, and how many of them a person never corrected. */
  readonly done = computed(() => {
    const states = this.session.items.value.map(({ summary }) => summary.value).filter(({ done }) => done);
    return {
      all: states.length,
      untouched: states.filter(({ corrected, source }) => !corrected && source !== "import").length,
    };
  });

  /** @param api null: there is no project on a service. */
  constructor(
    private readonly session: Session,
    private readonly api: ProjectApi | null,
  ) {}

  get isOffered(): boolean {
    return this.api !== null && this.session.model.value !== null;
  }

  /** Show what the service does already. */
  async look(): Promise<void> {
    try {
      if (this.api) await this.follow(this.api.improvement<Answer>());
    } catch {
      // it says so itself when it is asked to improve
    }
  }

  async start(finetune: boolean): Promise<void> {
    this.state.value = { kind: "running", stage: "", share: 0 };
    try {
      await this.sent();
      await this.follow(this.api!.improve<Answer>(finetune));
    } catch (failure) {
      this.state.value = { kind: "failed", message: sentence(failure) };
    }
  }

  async cancel(): Promise<void> {
    this.take(await this.api!.cancelImprovement<Answer>());
  }

  /** Ask the service how far it is until it has ended; its new words come as a change of the project. */
  private async follow(first: Promise<Answer>): Promise<void> {
    this.take(await first);
    while (this.state.value.kind === "running") {
      await new Promise((resolve) => setTimeout(resolve, LOOK));
      // somebody may have canceled it meanwhile
      if (this.state.value.kind === "running") this.take(await this.api!.improvement<Answer>());
    }
  }

  private take(answer: Answer): void {
    this.canFinetune.value = answer.can_finetune;
    this.state.value = stateOf(answer);
  }

  /** Wait until the service has what was marked as done last. */
  private async sent(): Promise<void> {
    const { store, writer } = this.session;
    writer.flush();
    for (let looks = 0; looks < 100; looks++) {
      await new Promise((resolve) => setTimeout(resolve, 200));
      if (!store.waiting.value && !writer.pending.value) return;
    }
    throw new PageError("The service doesn't have all changes yet; try again when they were sent.");
  }
}

/** What an answer means for the page. */
export function stateOf({ state, stage, share, images, scores, message }: Answer): ImprovementState {
  if (state === "none" || state === "canceled") return { kind: state };
  if (state === "running") return { kind: state, stage: stage ?? "", share: share ?? 0 };
  if (state === "failed") return { kind: state, message: message ?? "It failed; the service's log has the reason." };
  if (!scores) return { kind: state, gains: null, message };
  const { before, after, keep_text } = scores;
  const words = Object.keys(before.words).map((name) => {
    return { name, before: before.words[name], after: after.words[name] ?? null, keepsText: keep_text.includes(name) };
  });
  return { kind: state, gains: { images, words, before, after }, message };
}
