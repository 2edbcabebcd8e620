/** Starts the page, with the back ends that it is served with. */

import { render } from "preact";

import type { Backend } from "./backend";
import { OnnxBackend } from "./onnx/backend";
import { App } from "./page/app";
import { Elsewhere } from "./page/elsewhere";
import { StageControl } from "./page/stage/control";
import { BrowserStore } from "./project/browser_store";
import { Database } from "./project/database";
import { ServiceBackend, type Addresses } from "./service/backend";
import { Labeler } from "./session/labeler";
import { Session } from "./session/session";
import type { Place } from "./session/settings";
import { takeOver } from "./session/tabs";

/** What `backends.json` says. */
interface Offered {
  readonly service: Addresses | null;
  readonly browser: { readonly model: string } | null;
}

/** Where the key of the service is kept, until the window is closed. */
const KEY = "segvoc key";

async function start(): Promise<void> {
  const offered = await readOffered();
  const service = offered.service && new ServiceBackend(offered.service);
  const address = (path: string) => new URL(path, document.baseURI);
  const browser = offered.browser && new OnnxBackend(address("worker.js"), address(offered.browser.model));
  const backends: Partial<Record<Place, Backend>> = { ...(service && { service }), ...(browser && { browser }) };
  const places = Object.keys(backends) as Place[];

  const session = new Session(new BrowserStore(await Database.open()));
  await session.restore();
  const { place } = session.settings;
  if (!place.value || !places.includes(place.value)) place.value = places[0] ?? null;
  const labeler = new Labeler(session, backends);
  const useKey = (key: string) => {
    if (service) service.key = key;
    sessionStorage.setItem(KEY, key);
    void labeler.load();
  };
  if (service) service.key = sessionStorage.getItem(KEY) ?? "";
  labeler.start();
  const control = new StageControl(session);
  const root = document.getElementById("app")!;
  render(<App page={{ session, labeler, control, places, useKey }} />, root);
  takeOver(() => {
    labeler.stop();
    session.close();
    render(<Elsewhere />, root);
  });
}

/** A page without such a file has the network inside of it. */
async function readOffered(): Promise<Offered> {
  try {
    return (await (await fetch("backends.json")).json()) as Offered;
  } catch {
    return { service: null, browser: { model: "model/" } };
  }
}

void start();
