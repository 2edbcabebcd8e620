/** Who labels which image of a service's project, and how well two people agree. */

import { computed } from "@preact/signals";

import type { Agreement, ProjectApi } from "../project/api";
import type { Session } from "./session";

export class People {
  constructor(
    private readonly session: Session,
    private readonly api: ProjectApi,
  ) {}

  /** How many images each person has, and how many of them are done; nobody is "". */
  readonly counts = computed(() => {
    const counts = new Map<string, { images: number; done: number }>();
    for (const { summary, isDone } of this.session.items.value) {
      const person = summary.value.person ?? "";
      const { images, done } = counts.get(person) ?? { images: 0, done: 0 };
      counts.set(person, { images: images + 1, done: done + Number(isDone.value) });
    }
    return [...counts].sort(([one], [other]) => one.localeCompare(other));
  });

  get mayAssign(): boolean {
    return this.session.store.may("administer");
  }

  /** Deal the listed images out to people, in turn; `copies`: as copies without labels, to compare both. */
  async assign(people: readonly string[], copies: boolean): Promise<void> {
    await this.session.sent();
    const images = this.session.listing.listed.value.map(({ id }) => id);
    await this.api.assign(images, people, copies);
  }

  async agreement(): Promise<Agreement> {
    await this.session.sent();
    return this.api.agreement();
  }

  /** The photograph in gray, with the pixels where a copy and its original differ in red. */
  differences(copy: string): Promise<Blob> {
    return this.api.differences(copy);
  }
}
