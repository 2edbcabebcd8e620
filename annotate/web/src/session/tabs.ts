/** Tabs of the page share what the browser keeps, so only the one that was opened last works on it. */

/** Take the work over from other tabs; `onLost` is called when a later one does so. */
export function takeOver(onLost: () => void): void {
  // a channel doesn't hear itself
  const channel = new BroadcastChannel("segvoc");
  channel.onmessage = () => {
    channel.close();
    onLost();
  };
  channel.postMessage("opened");
}
