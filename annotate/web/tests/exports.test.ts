import assert from "node:assert/strict";
import { test } from "node:test";

import { signal } from "@preact/signals";

import type { ProjectApi } from "../src/project/api";
import { type ExportJob, Exports } from "../src/session/exports";
import type { Session } from "../src/session/session";

const JOB: ExportJob = { id: "a", format: "voc", state: "running", images: 3, finished: 0, problems: [], message: null };

/** A service whose job is as these say, one after another, and what the page asked of it. */
function made(states: readonly Partial<ExportJob>[]) {
  const asked: string[] = [],
    saved: string[] = [];
  const left = [...states];
  const next = async () => ({ ...JOB, ...left.shift() });
  const api = {
    json: async (method: string, path: string) => (asked.push(`${method} ${path}`), method === "DELETE" ? JOB : next()),
    download: async (path: string) => (asked.push(path), new Blob(["zip"])),
  } as unknown as ProjectApi;
  const session = { sent: async () => {}, name: signal("street"), problem: signal<string | null>(null) } as unknown as Session;
  return { exports: new Exports(session, api, (name) => saved.push(name)), session, asked, saved };
}

test("an export is followed until its file is saved", async () => {
  const { exports, session, asked, saved } = made([{}, { finished: 2 }, { state: "done", finished: 3, problems: ["b.png is damaged"] }]);
  const seen: number[] = [];
  const stop = exports.jobs.subscribe((jobs) => void [...jobs.values()].forEach(({ finished }) => seen.push(finished)));
  await exports.start("voc");
  stop();
  assert.deepEqual(asked, ["POST /exports", "GET /exports/a", "GET /exports/a", "/exports/a/file"]);
  assert.deepEqual([seen, saved], [[0, 2, 3], ["street voc.zip"]]);
  assert.equal(session.problem.value, "Not exported: b.png is damaged");
  assert.equal(exports.jobs.value.size, 0);
});

test("an export that is canceled saves nothing, and one that failed stays until it is closed", async () => {
  const running = made([{}, {}]);
  const end = running.exports.start("voc");
  while (!running.exports.jobs.value.size) await new Promise((resolve) => setTimeout(resolve));
  await running.exports.start("voc");
  await running.exports.cancel(JOB);
  await end;
  assert.deepEqual([running.asked, running.saved], [["POST /exports", "DELETE /exports/a"], []]);
  const failed = made([{ state: "failed", message: "the disk is full" }]);
  await failed.exports.start("voc");
  assert.equal(failed.exports.jobs.value.get("voc")!.message, "the disk is full");
  await failed.exports.cancel(JOB);
  assert.equal(failed.exports.jobs.value.size, 0);
});
