/** Datasets that the service of a project makes of all labeled images: each is a job, and a file at its end. */

import { signal } from "@preact/signals";

import { sentence } from "../backend";
import type { ProjectApi } from "../project/api";
import { pause } from "../project/connection";
import type { Session } from "./session";

/** A dataset that the service makes, or has made. */
export interface ExportJob {
  readonly id: string;
  readonly format: string;
  readonly state: "running" | "done" | "failed" | "canceled";
  readonly images: number;
  readonly finished: number;
  readonly problems: readonly string[];
  readonly message: string | null;
}

/** How often the service is asked how far it is [ms]. */
const LOOK = 500;

export class Exports {
  /** The jobs that this page started and that run or failed, by their format. */
  readonly jobs = signal<ReadonlyMap<string, ExportJob>>(new Map());

  /** @param save saves the file of a job that is done. */
  constructor(
    private readonly session: Session,
    private readonly api: ProjectApi,
    private readonly save: (name: string, content: Blob) => void,
  ) {}

  async start(format: string): Promise<void> {
    if (this.jobs.value.get(format)?.state === "running") return;
    try {
      await this.session.sent();
      let job = await this.api.json<ExportJob>("POST", "/exports", { body: { format, all: true } });
      for (this.show(job); job.state === "running"; this.show(job)) {
        await pause(LOOK);
        if (!this.jobs.value.has(format)) return;
        job = await this.api.json("GET", `/exports/${job.id}`);
      }
      if (job.state !== "done") return;
      this.save(`${this.session.name.value} ${format}.zip`, await this.api.download(`/exports/${job.id}/file`));
      this.forget(format);
      if (job.problems.length) this.session.problem.value = `Not exported: ${job.problems.join("; ")}`;
    } catch (failure) {
      this.forget(format);
      this.session.problem.value = sentence(failure);
    }
  }

  /** Cancel a job, or put a failed one away. */
  async cancel({ format, id }: ExportJob): Promise<void> {
    this.forget(format);
    await this.api.json("DELETE", `/exports/${id}`).catch(() => {});
  }

  private show(job: ExportJob): void {
    this.jobs.value = new Map([...this.jobs.value, [job.format, job]]);
  }

  private forget(format: string): void {
    this.jobs.value = new Map([...this.jobs.value].filter(([other]) => other !== format));
  }
}
