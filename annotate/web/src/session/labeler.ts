/** Labels the project's images, the open one first. */

import { computed, effect, signal, untracked } from "@preact/signals";

import { type Backend, KeyError, type Query, sentence, TransientError } from "../backend";
import { carriedFrom } from "../project/work_file";
import { partsProblem } from "../words/list";
import type { Item } from "./item";
import type { Session } from "./session";
import { lookFor, type Place } from "./settings";
import { onceReporter } from "./watching";

/** Delay after the last change of the words before labeling starts [ms]. */
const PAUSE = 50;

/** Retry delay after a temporary failure, first and longest [s]. */
const WAIT = { first: 2, longest: 60 };

export class Labeler {
  readonly loaded = signal(0);
  readonly needsKey = signal(false);
  /** What to look for and where; null: nothing, or it isn't known yet. */
  readonly query = computed<Query | null>(() => {
    const { words, parts } = this.session.settings;
    const taught = this.backend?.teach ? this.session.taught.files.value.map(({ id }) => id) : [];
    const usedParts = this.session.model.value?.hasParts ? parts.value.trim() : "";
    if (!words.value.length || partsProblem(usedParts)) return null;
    return { words: words.value, parts: usedParts, taught };
  });
  private readonly running = new Map<Item, AbortController>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private again: ReturnType<typeof setTimeout> | undefined;
  private wait = WAIT.first;
  private isStopped = false;
  private readonly report: (problem: string | null) => void;

  constructor(
    private readonly session: Session,
    private readonly backends: Readonly<Partial<Record<Place, Backend>>>,
  ) {
    this.report = onceReporter(session.problem);
  }

  get backend(): Backend | undefined {
    return this.backends[this.session.settings.place.value!];
  }

  /** Starts labeling all images without labels for the current words. */
  start(): void {
    effect(() => {
      void [this.session.settings.place.value, this.session.improved.value];
      untracked(() => void this.load());
    });
    effect(() => {
      const { model, items, current, reopened, isClicking } = this.session;
      for (const seen of [this.query, model, items, current, reopened, isClicking]) void seen.value;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.fill(), PAUSE);
    });
    effect(() => {
      // results for other words are useless now
      this.session.question.value = this.key.value;
      for (const [item, ending] of this.running) {
        ending.abort();
        this.running.delete(item);
        item.attempt.value = null;
      }
    });
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.again);
    for (const ending of this.running.values()) ending.abort();
  }

  /** Prepares the backend after it was chosen or got a key. */
  async load(): Promise<void> {
    const { backend, session } = this;
    session.model.value = null;
    this.loaded.value = 0;
    this.needsKey.value = false;
    if (!backend) return;
    try {
      const model = await backend.load((share) => (this.loaded.value = share));
      const problem = backend.teach ? await session.taught.restore(backend) : null;
      if (backend !== this.backend) return;
      session.model.value = model;
      const { words } = session.settings;
      // a model that was taught words starts with them
      if (!words.value.length) lookFor(session.settings, [...new Set(model.taught.flatMap((file) => file.words))]);
      this.report(problem);
      this.retry(session.items.value);
    } catch (failure) {
      if (backend !== this.backend) return;
      this.fail(failure);
      if (failure instanceof TransientError) this.later(() => void this.load());
    }
  }

  retry(items: readonly Item[]): void {
    clearTimeout(this.again);
    this.again = undefined;
    for (const item of items) if (item.attempt.value?.kind === "failed") item.attempt.value = null;
    this.fill();
  }

  /** Whether an image has labels for the current words, or needs none since it is done or imported. */
  isLabeled({ isDone, isImported, state: { value } }: Item): boolean {
    return isDone.value || isImported || (value.kind === "labeled" && this.isCurrent(value.answers));
  }

  /** Whether labels answer the current query; those that a frame took over from another one are the service's business. */
  private isCurrent(answers: string | null): boolean {
    return answers === this.key.value || carriedFrom({ answers }) !== null;
  }

  async teach(files: readonly File[]): Promise<void> {
    const { backend, session } = this;
    if (!session.model.value) session.problem.value = "The model isn't ready yet; give it taught words when it is.";
    else if (backend?.teach) await session.taught.add(backend, files);
    else session.problem.value = "The service has its own taught words; segvoc serve --taught gives it more.";
  }

  /** What labels must answer: the query, the model with its taught words, and its place; null: nothing is asked. */
  private readonly key = computed(() => {
    const query = this.query.value;
    const { model, settings } = this.session;
    if (!query || !model.value) return null;
    const { name, taught } = model.value;
    return JSON.stringify([query, name, taught.map(({ id }) => id), settings.place.value]);
  });

  private fill(): void {
    const key = this.key.value;
    const query = this.query.value;
    const { backend, running, session } = this;
    if (!backend || key === null || !query || this.again !== undefined || this.isStopped) return;
    if (session.isClicking.value || !session.store.may("annotate")) return;
    const opening = session.opening.value;
    const order = opening ? [opening, ...session.items.value.filter((item) => item !== opening)] : session.items.value;
    for (const item of order) {
      if (running.size >= backend.atOnce) return;
      const { value: state } = item.state;
      const isAnswered = (state.kind === "labeled" || state.kind === "failed") && this.isCurrent(state.answers);
      if (!isAnswered && !item.isDone.value && !item.isImported && !running.has(item)) void this.label(item, backend, query, key);
    }
  }

  private async label(item: Item, backend: Backend, query: Query, key: string): Promise<void> {
    const ending = new AbortController();
    this.running.set(item, ending);
    item.attempt.value = { kind: "running" };
    try {
      const found = await backend.segment(item, query, ending.signal);
      if (ending.signal.aborted) return;
      await this.session.take(item, found, key);
      this.wait = WAIT.first;
    } catch (failure) {
      if (ending.signal.aborted) return;
      const isTransient = failure instanceof TransientError;
      item.attempt.value = { kind: "failed", answers: key, message: sentence(failure), isTransient };
      const isPassing = ({ state: { value } }: Item) => value.kind === "failed" && value.isTransient;
      if (isTransient) this.later(() => this.retry(this.session.items.value.filter(isPassing)));
      if (failure instanceof KeyError) this.fail(failure);
    } finally {
      if (this.running.get(item) === ending) this.running.delete(item);
      this.fill();
    }
  }

  private later(action: () => void): void {
    if (this.again !== undefined || this.isStopped) return;
    this.again = setTimeout(() => {
      this.again = undefined;
      action();
    }, 1000 * this.wait);
    this.wait = Math.min(2 * this.wait, WAIT.longest);
  }

  private fail(failure: unknown): void {
    this.needsKey.value = failure instanceof KeyError;
    this.report(sentence(failure));
  }
}
