/** Takes over what closed pages left in the browser's database, and didn't send. */

import type { Database, Entry } from "./database";
import { type Follower, keptName } from "./following";
import { renumbered } from "./keeping";
import { keptEntry, type UnsentProject } from "./outbox";
import { rebasedProject } from "./rebasing";

/** @param user the name of the reader's key: what somebody else's key made waits for that; null: there are no keys. */
export async function takeLeft(database: Database, follower: Follower, user: string | null): Promise<void> {
  const { connection, outbox } = follower;
  // of tabs that are opened at once, one takes it
  const take = async () => {
    const open = await openTabs(outbox.tab, connection.signal);
    const all = (await database.getEntries("outbox")).filter(([key]) => !open.has(tabOf(key)));
    const isOther = ([, { by }]: (typeof all)[number]) => user !== null && by !== user;
    for (const name of new Set(all.filter(isOther).map(([, { by }]) => by)))
      follower.tell(`Changes of “${name}” wait in this browser: they are sent when the page is opened with that key.`);
    const left = all.filter((one) => !isOther(one));
    /** Ids that words of a second tab have now, by that tab. */
    const moved = new Map<string, ReadonlyMap<number, number>>();
    for (const [key, kept] of left.filter(([, { unsent }]) => unsent.kind === "project")) {
      const first = outbox.project;
      if (!first) {
        outbox.add(kept);
        continue;
      }
      const { base, project: second } = kept.unsent as UnsentProject;
      const both = rebasedProject(base, second, first.unsent.project);
      moved.set(tabOf(key), both.moved);
      follower.tell(...both.notRenamed.map(keptName));
      first.unsent = { ...first.unsent, project: both.project, change: outbox.id() };
      first.refused = null;
    }
    for (const [key, { unsent, ...kept }] of left.filter(([, one]) => one.unsent.kind !== "project")) {
      const ids = unsent.kind === "work" && moved.get(tabOf(key));
      outbox.add({ ...kept, unsent: ids ? { ...renumbered(unsent, ids), change: outbox.id() } : unsent });
    }
    const gone = left.map(([key]): Entry => ({ store: "outbox", key }));
    await database.write([...gone, ...outbox.entries.map(keptEntry)]);
  };
  await (navigator.locks ? navigator.locks.request("segvoc left", take) : take());
}

/** The tab that wrote an entry of the database. */
function tabOf(key: string): string {
  return key.split(" ")[0];
}

/** The open tabs of this browser; this one is registered until it closes. */
async function openTabs(tab: string, signal: AbortSignal): Promise<ReadonlySet<string>> {
  // there are no locks without HTTPS; the service's revisions then merge what two pages send
  if (!navigator.locks) return new Set();
  void navigator.locks.request(`segvoc ${tab}`, () => new Promise((resolve) => signal.addEventListener("abort", resolve)));
  const { held = [] } = await navigator.locks.query();
  return new Set(held.flatMap(({ name }) => (name?.startsWith("segvoc ") ? [name.slice(7)] : [])));
}
