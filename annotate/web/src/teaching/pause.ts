/** Long work lets other work in between, and ends when it is canceled. */

/** Called between steps; rejects when the work is to end. */
export type Pause = () => Promise<void>;

/** How long a thread works before it looks for messages [ms]. */
const LONGEST = 60;

/** Lets other work in between from time to time; an aborted signal ends the work. */
export function pauses(signal: AbortSignal): Pause {
  let last = performance.now();
  return async () => {
    signal.throwIfAborted();
    if (performance.now() - last < LONGEST) return;
    // at once: a timer would wait for some milliseconds
    await new Promise<void>((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(null);
    });
    last = performance.now();
    signal.throwIfAborted();
  };
}
