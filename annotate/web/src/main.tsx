/** Starts the page, with the back ends that it is served with. */

import { effect, signal } from "@preact/signals";
import { render } from "preact";

import { type Backend, KeyError, sentence } from "./backend";
import { OnnxBackend } from "./onnx/backend";
import type { ClickFunctions } from "./onnx/click_worker";
import { Clicker } from "./onnx/clicker";
import type { NetworkFunctions } from "./onnx/worker";
import { App } from "./page/app";
import { Closed, Elsewhere } from "./page/closed";
import type { Served } from "./page/page";
import { StageControl } from "./page/stage/control";
import { ProjectApi } from "./project/api";
import { BrowserStore } from "./project/browser_store";
import { Database } from "./project/database";
import { RemoteStore } from "./project/remote_store";
import { WorkPacker } from "./project/work_packer";
import { type Addresses, ServiceBackend } from "./service/backend";
import { save } from "./saving/files";
import { Exports } from "./session/exports";
import { Improvement } from "./session/improvement";
import { Labeler } from "./session/labeler";
import { Session } from "./session/session";
import type { Place } from "./session/settings";
import { networkFailure, WorkerCalls } from "./worker_calls";

/** What `backends.json` says. */
interface Offered {
  readonly service: Addresses | null;
  /** `clicks`: where the network is that finds objects by clicks. */
  readonly browser: { readonly model: string; readonly clicks?: string } | null;
  /** Whether the service has a project, on which this page works then. */
  readonly project?: boolean;
}

/** Where the key of the service is kept, until the window is closed. */
const KEY = "segvoc key";

const USER = "segvoc user";

async function start(): Promise<void> {
  const offered = await readOffered();
  const service = offered.service && new ServiceBackend(offered.service);
  const address = (path: string) => new URL(path, document.baseURI);
  const labeling = new WorkerCalls<NetworkFunctions>(address("worker.js"), networkFailure);
  const browser = offered.browser && new OnnxBackend(labeling, address(offered.browser.model));
  // what is loaded longest comes first; the labeler is told what fails
  if (!service) browser?.load(() => {}).catch(() => {});
  const api = service && offered.project ? new ProjectApi(address("v1/project")) : null;
  // everyone who works on a project of a service labels with the same model
  const isInside = browser && !api;
  const backends: Partial<Record<Place, Backend>> = { ...(service && { service }), ...(isInside && { browser }) };
  const places = Object.keys(backends) as Place[];

  const root = document.getElementById("app")!;
  const keep = (key: string) => {
    for (const one of [service, api]) if (one) one.key = key;
    sessionStorage.setItem(KEY, key);
  };
  keep(sessionStorage.getItem(KEY) ?? "");
  if (api) api.user = localStorage.getItem(USER) ?? "";
  // a project has a database of its own, whatever else is served at this address
  const served = api && (await untilServed(() => api.get(), root, keep));
  if (api) api.project = served;
  const database = await Database.open(served ? `segvoc project ${served.id}` : "segvoc", () => {
    const problem = "Another tab has an earlier version of this page open; close it, or load it again.";
    render(<Closed problem={problem} needsKey={false} onTry={() => {}} />, root);
  });
  const packer = new WorkPacker(new WorkerCalls(address("work.js")));
  const remote = api && served && new RemoteStore(api, database, packer, served);
  const store = remote ?? new BrowserStore(database);
  const session = new Session(store);
  await session.restore();
  addEventListener("beforeunload", (event) => {
    const isUnsaved = store.waiting.value > 0 || store.refused.value.length > 0 || session.writer.pending.value > 0;
    if (isUnsaved && !store.isLasting) event.preventDefault();
  });
  const { place } = session.settings;
  if (!place.value || !places.includes(place.value)) place.value = places[0] ?? null;
  const labeler = new Labeler(session, backends);
  const useKey = (key: string) => {
    keep(key);
    void labeler.load();
  };
  labeler.start();
  const clicks = offered.browser?.clicks;
  const clicking = new WorkerCalls<ClickFunctions>(address("clicks.js"), networkFailure);
  const control = new StageControl(session, clicks ? new Clicker(clicking, address(clicks)) : null);
  render(<App page={{ session, labeler, served: api && remote && servedBy(api, remote, session), control, places, dialog: signal(null), useKey }} />, root);
  // the strip doesn't wait for it
  void session.openLast();
  // a service keeps what several tabs do apart
  if (api) return;
  // one tab has the browser's work: the last that was opened; a channel doesn't hear itself
  const channel = new BroadcastChannel("segvoc");
  channel.onmessage = () => {
    channel.close();
    labeler.stop();
    session.close();
    render(<Elsewhere />, root);
  };
  channel.postMessage("opened");
}

function servedBy(api: ProjectApi, store: RemoteStore, session: Session): Served {
  const user = signal(api.user);
  effect(() => {
    api.user = user.value;
    localStorage.setItem(USER, user.value);
  });
  const exports = new Exports(session, api, (name, content) => save({ name, content }));
  return { api, store, user, exports, improvement: new Improvement(session, api) };
}

/** What the service answers; one that asks for a key, or can't be reached, is asked again. */
async function untilServed<Answer>(ask: () => Promise<Answer>, root: HTMLElement, useKey: (key: string) => void): Promise<Answer> {
  for (;;) {
    try {
      return await ask();
    } catch (failure) {
      const answer = await new Promise<string>((resolve) =>
        render(<Closed problem={sentence(failure)} needsKey={failure instanceof KeyError} onTry={resolve} />, root),
      );
      if (failure instanceof KeyError) useKey(answer);
    }
  }
}

/** A page without such a file has the network inside of it. */
async function readOffered(): Promise<Offered> {
  try {
    return (await (await fetch("backends.json")).json()) as Offered;
  } catch {
    return { service: null, browser: { model: "model/", clicks: "clicks/" } };
  }
}

void start();
