/** Requests to a service that may be away: they are sent again until it answers, and the reader is told. */

import { signal } from "@preact/signals";

import { sentence } from "../backend";
import { AnotherProjectError, isPassing } from "./api";

/** Retry delay after a failure, first and longest [ms]. */
const WAIT = { first: 500, longest: 15_000 };

export class Connection {
  readonly isAway = signal(false);
  private readonly ending = new AbortController();
  /** Ends with the page. */
  readonly signal = this.ending.signal;

  /** @param report gets what is wrong; null: nothing any more. */
  constructor(private readonly report: (problem: string | null) => void) {}

  /** Repeats a step until it returns false or the page is closed; after failures it waits, longer each time. */
  async repeat(step: () => Promise<boolean>, isReported = false): Promise<void> {
    let wait = WAIT.first,
      hasReported = false;
    while (!this.signal.aborted) {
      try {
        const goesOn = await step();
        if (hasReported) this.reached();
        hasReported = false;
        if (!goesOn) return;
        wait = WAIT.first;
      } catch (failure) {
        if (this.signal.aborted) return;
        if (isReported || failure instanceof AnotherProjectError) {
          hasReported = true;
          this.isAway.value = true;
          this.report(sentence(failure));
        }
        await pause(wait);
        wait = Math.min(2 * wait, WAIT.longest);
      }
    }
  }

  /** What a request answers, once the service can be reached. */
  answer<Answer>(request: () => Promise<Answer>): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const step = async () => {
        try {
          resolve(await request());
        } catch (failure) {
          if (isPassing(failure)) throw failure;
          reject(failure);
        }
        this.reached();
        return false;
      };
      void this.repeat(step, true);
    });
  }

  reached(): void {
    if (this.isAway.value) this.report(null);
    this.isAway.value = false;
  }

  close(): void {
    this.ending.abort();
  }
}

/** Repeats a step while there is something to do, and again whenever there may be more. */
export class Loop {
  isRunning = false;
  private isAsked = false;

  /** @param step false: there is nothing more to do. */
  constructor(
    private readonly connection: Connection,
    private readonly step: () => Promise<boolean>,
    private readonly isReported = false,
  ) {}

  start(): void {
    this.isAsked = true;
    if (this.isRunning) return;
    this.isRunning = true;
    const step = async () => {
      this.isAsked = false;
      const goesOn = await this.step();
      return (this.isRunning = goesOn || this.isAsked);
    };
    void this.connection.repeat(step, this.isReported);
  }
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
