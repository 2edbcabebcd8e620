/** The files of taught words that the reader gave the model. */

import { signal, type Signal } from "@preact/signals";

import { type Backend, sentence, type TaughtFile } from "../backend";
import type { Store } from "../project/structure";

interface StoredTaught {
  readonly name: string;
  readonly content: Uint8Array;
}

export class TaughtFiles {
  /** Those that the model took; of two that know a word, the later one counts. */
  readonly files = signal<readonly (TaughtFile & StoredTaught)[]>([]);

  constructor(
    private readonly store: Store,
    private readonly problem: Signal<string | null>,
    /** Writes, and says so if there is no room. */
    private readonly tryWrite: (write: () => Promise<void>) => Promise<boolean>,
  ) {}

  /** Give the model files; one that was given before counts as the last. */
  async add(backend: Backend, files: readonly File[]): Promise<void> {
    this.problem.value = null;
    for (const file of files) await this.tryToGive(backend, file.name, new Uint8Array(await file.arrayBuffer()));
    await this.keep();
  }

  async remove({ id }: TaughtFile): Promise<void> {
    this.files.value = this.files.value.filter((other) => other.id !== id);
    await this.keep();
  }

  async clear(): Promise<void> {
    this.files.value = [];
    await this.keep();
  }

  /** Bring back those that were kept; what the model refuses is forgotten, with one sentence that says why. */
  async restore(backend: Backend): Promise<string | null> {
    const kept = ((await this.store.get("taught")) ?? []) as readonly StoredTaught[];
    this.problem.value = null;
    for (const { name, content } of kept) await this.tryToGive(backend, name, content);
    if (this.problem.value) await this.keep();
    return this.problem.value;
  }

  private async tryToGive(backend: Backend, name: string, content: Uint8Array): Promise<void> {
    try {
      const file = await backend.teach!(name, content);
      this.files.value = [...this.files.value.filter((other) => other.id !== file.id), { ...file, name, content }];
    } catch (failure) {
      this.problem.value = sentence(failure);
    }
  }

  private keep(): Promise<boolean> {
    const kept = this.files.value.map(({ name, content }): StoredTaught => ({ name, content }));
    return this.tryWrite(() => this.store.put("taught", kept));
  }
}
