/** Writes what changes at once, so that closing the page right after a change loses nothing. */

import { signal } from "@preact/signals";

type Write = () => Promise<void>;

/** One write at a time for each key; of those that come meanwhile, the last one is written, as it holds everything. */
export class Writer {
  /** Writes that were begun and aren't over. */
  readonly pending = signal(0);
  private readonly running = new Set<string>();
  private readonly waiting = new Map<string, Write>();

  /** @param write begins to write before it returns, and doesn't fail. */
  write(key: string, write: Write): void {
    if (this.running.has(key)) this.waiting.set(key, write);
    else void this.run(key, write);
  }

  /** Begin whatever waits, as there may be no time left. */
  flush(): void {
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    for (const write of waiting) void this.counted(write);
  }

  private async run(key: string, write: Write): Promise<void> {
    this.running.add(key);
    await this.counted(write);
    this.running.delete(key);
    const next = this.waiting.get(key);
    if (!this.waiting.delete(key)) return;
    await this.run(key, next!);
  }

  private async counted(write: Write): Promise<void> {
    this.pending.value++;
    try {
      await write();
    } finally {
      this.pending.value--;
    }
  }
}
