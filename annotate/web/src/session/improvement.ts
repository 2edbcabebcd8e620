/** Teaches the model with the images that are done, here or on the service. */

import { computed, signal } from "@preact/signals";

import { PageError, sentence, type Backend, type Gains, type ImprovementImages } from "../backend";
import { NONE } from "../labels/labeling";
import { entryOf } from "../project/words";
import type { Item } from "./item";
import type { Labeler } from "./labeler";
import type { Session } from "./session";

/** Name of the file with the words that done images have taught. */
export const IMPROVED = "improved.words.safetensors";

/** Images that are done, at least: one is held out. */
export const FEWEST = 2;

/** The shares of all work at which each stage begins and ends. */
const STAGES: Readonly<Record<string, readonly [number, number]>> = {
  "finding regions": [0, 0.3],
  "reading images": [0.3, 0.6],
  "learning words": [0.6, 1],
};

/** How far it is, or how it ended. */
export type ImprovementState =
  | { readonly kind: "none" | "canceled" }
  /** `share`: of all work, in [0, 1]. */
  | { readonly kind: "running"; readonly stage: string; readonly share: number }
  /** `gains`: null if there is nothing to gain, which `message` says. */
  | { readonly kind: "done"; readonly gains: Gains | null; readonly message: string | null }
  | { readonly kind: "failed"; readonly message: string };

/** A service that learns from the images of its project. */
export interface ImprovingService {
  /** Whether it can fine-tune, too; known once the state was asked for. */
  readonly canFinetune: boolean;
  state(): Promise<ImprovementState>;
  start(finetune: boolean): Promise<ImprovementState>;
  cancel(): Promise<ImprovementState>;
}

/** How often a service is asked how far it is [ms]. */
const LOOK = 1000;

export class Improvement {
  readonly state = signal<ImprovementState>({ kind: "none" });
  /** Whether a service that does it can fine-tune, too. */
  readonly canFinetune = signal(false);
  /** The images that are learned from. */
  readonly done = computed(() => this.session.items.value.filter(({ isDone }) => isDone.value));
  private ending: AbortController | null = null;

  constructor(
    private readonly session: Session,
    private readonly labeler: Labeler,
    /** null: there is no project on a service. */
    private readonly service: ImprovingService | null,
  ) {}

  /** Whether the back end in use can learn from images. */
  get isOffered(): boolean {
    const { session, labeler, service } = this;
    if (!session.model.value) return false;
    return session.settings.place.value === "service" ? service !== null : Boolean(labeler.backend?.improve);
  }

  /** Show what a service does already. */
  async look(): Promise<void> {
    const { service } = this;
    if (!service || this.session.settings.place.value !== "service") return;
    try {
      const state = await service.state();
      this.canFinetune.value = service.canFinetune;
      this.state.value = state;
      if (state.kind === "running") await this.follow(service);
    } catch {
      // it says so itself when it is asked to improve
    }
  }

  async start(finetune: boolean): Promise<void> {
    const { service, session, labeler } = this;
    const { backend } = labeler;
    this.state.value = { kind: "running", stage: "", share: 0 };
    try {
      if (session.settings.place.value === "service") {
        await this.sent();
        this.state.value = await service!.start(finetune);
        await this.follow(service!);
      } else if (backend?.improve) await this.teach(backend);
    } catch (failure) {
      this.state.value = this.ending?.signal.aborted
        ? { kind: "canceled" }
        : { kind: "failed", message: sentence(failure) };
    }
  }

  async cancel(): Promise<void> {
    this.ending?.abort();
    if (!this.ending && this.service) this.state.value = await this.service.cancel();
  }

  private async teach(backend: Backend): Promise<void> {
    const ending = (this.ending = new AbortController());
    try {
      const step = ({ stage, done, total }: { stage: string; done: number; total: number }) => {
        const [start, end] = STAGES[stage] ?? [0, 1];
        this.state.value = { kind: "running", stage, share: start + ((end - start) * done) / Math.max(1, total) };
      };
      const { content, ...gains } = await backend.improve!(this.examples(), step, ending.signal);
      await this.session.taught.replace(backend, IMPROVED, content);
      this.state.value = { kind: "done", gains, message: null };
    } finally {
      if (!ending.signal.aborted) this.ending = null;
    }
  }

  /** Ask the service how far it is until it has ended; its new words come as a change of the project. */
  private async follow(service: ImprovingService): Promise<void> {
    this.ending = null;
    while (this.state.value.kind === "running") {
      await new Promise((resolve) => setTimeout(resolve, LOOK));
      // somebody may have canceled it meanwhile
      if (this.state.value.kind === "running") this.state.value = await service.state();
    }
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

  /** The images that are done, with the places of their words in the list of words. */
  private examples(): ImprovementImages {
    const { settings, store, writer } = this.session;
    const words = settings.words.value;
    const places = new Uint16Array(NONE + 1).fill(NONE);
    for (const [place, word] of words.entries()) places[entryOf(settings.vocabulary.value, word)!.id] = place;
    const read = async (item: Item) => {
      writer.flush();
      const { settled } = await store.work(item.id);
      const labels = (settled ?? new Uint16Array(item.width * item.height).fill(NONE)).map((id) => places[id]);
      const { width, height } = item;
      return { image: await item.pixels(), labels: { width, height, labels } };
    };
    return { words, synonyms: settings.synonyms.value, images: this.done.value.map((item) => () => read(item)) };
  }
}
