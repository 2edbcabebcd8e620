/** A service with a project in memory, which loses requests and answers, and people who work on it. */

import { setMaxListeners } from "node:events";

import { decode } from "fast-png";

import { ProjectApi } from "../src/project/api";
import { Database, type Entry } from "../src/project/database";
import type { Loop } from "../src/project/connection";
import type { Outbox } from "../src/project/outbox";
import { RemoteStore } from "../src/project/remote_store";
import { folded } from "../src/labels/synonyms";
import { type ImageState, newState, type Project, type Review, type Role, ROLES } from "../src/project/structure";
import { decodeWork, encodeWork } from "../src/project/work_file";
import type { WorkPacker } from "../src/project/work_packer";
import { type Unzipped, unzipped } from "../src/saving/zip";
import { entryOf, mergedIds } from "../src/project/words";
import { Session } from "../src/session/session";
import { lookFor } from "../src/session/settings";
import { found, zip } from "./labeled";

/** What becomes of a request: it doesn't arrive, or its answer doesn't, or the service doesn't take it. */
export type Fate = "answered" | "lost" | "unanswered" | "refused";

const WIDTH = 6;

/** How many times faster the page waits. */
const FASTER = 200;

// each request for changes listens to the page's end
setMaxListeners(0);
const waits = setTimeout;
const fast = (action: () => void, time = 0) => waits(action, time / FASTER);

/** The names of locks that open tabs hold. */
const locks = new Set<string>();
const ends = new Map<string, Promise<unknown>>();
const manager = {
  request(name: string, held: () => Promise<unknown>) {
    const hold = () => (locks.add(name), held().finally(() => locks.delete(name)));
    const end = ends.has(name) ? ends.get(name)!.then(hold) : hold();
    ends.set(name, end.catch(() => {}));
    return end;
  },
  query: async () => ({ held: [...locks].map((name) => ({ name })) }),
};
Object.defineProperty(globalThis, "navigator", { value: { locks: manager }, configurable: true });
Object.assign(globalThis, {
  setTimeout: fast,
  addEventListener: () => {},
  matchMedia: () => ({ matches: false }),
  createImageBitmap: async () => ({ width: WIDTH, height: 1, close() {} }),
  fetch: (address: string, request: RequestInit) => new Promise((answer) => answer(services.get(new URL(address).host)!.fetch(new URL(address), request))),
});

const services = new Map<string, ProjectService>();

interface Line {
  readonly seq: number;
  readonly what: string;
  readonly image_id: string | null;
}

export class ProjectService {
  readonly host = `service-${services.size}`;
  readonly states = new Map<string, ImageState>();
  readonly trash = new Map<string, ImageState>();
  readonly history: Line[] = [];
  readonly work = new Map<string, Unzipped>();
  readonly id = this.host;
  project: Project = { name: "street", revision: 1, words: [], options: { parts: "", threshold: 0, background: null } };
  /** Decides what becomes of a request. */
  fate: (method: string, path: string) => Fate = () => "answered";
  /** The name of the reader's key. */
  keyName: string | null = null;
  /** Who sent work. */
  readonly users: string[] = [];
  /** Whether the project says what a key may do. */
  saysRole = false;
  /** The first change that it knows. */
  private first = 0;
  /** A number that no change had. */
  private least = 0;
  private readonly made = new Set<string>();
  private waiting: (() => void)[] = [];

  constructor(...images: string[]) {
    services.set(this.host, this);
    for (const image of images) this.added(image);
  }

  /** Its first image of a name has that as its id. */
  added(image: string): ImageState & { id: string } {
    const id = this.states.has(image) || this.trash.has(image) ? `${image} ${this.trash.size}` : image;
    const state = { ...newState(image, { width: WIDTH, height: 1 }), id };
    this.states.set(id, state);
    return state;
  }

  /** What its folder has now. */
  backup(): () => void {
    const { project } = this,
      kept = [this.states, this.work, this.trash].map((values) => [values as Map<string, unknown>, [...values]] as const);
    return () => {
      for (const [values, entries] of kept) {
        values.clear();
        for (const [key, value] of entries) values.set(key, value);
      }
      this.project = project;
    };
  }

  /** Puts a backup back; numbers go on. */
  restore(backup: () => void): void {
    backup();
    this.first = this.history.length + 1;
    this.least += 1000;
    this.append("added", null);
  }

  /** Serves another project at the address of this one. */
  answersFor(other: ProjectService): void {
    services.set(this.host, other);
  }

  /** The next requests to an address end so. */
  fail(method: string, path: string, ...fates: Fate[]): void {
    const before = this.fate;
    this.fate = (how, where) => (how === method && where.startsWith(path) && fates.shift()) || before(how, where);
  }

  async fetch(address: URL, { method = "GET", body, headers, signal }: RequestInit): Promise<Response> {
    const path = decodeURIComponent(address.pathname.replace("/v1/project", ""));
    const fate = this.fate(method, path);
    await new Promise((resolve) => waits(resolve));
    if (fate === "lost") throw new TypeError("lost");
    const revision = Number(new Headers(headers).get("If-Match")?.replaceAll('"', ""));
    const meant = new Headers(headers).get("X-Segvoc-Project") ?? this.id;
    const isOther = meant !== this.id && Response.json({ error: { code: "another_project" }, project: { name: this.project.name } }, { status: 409 });
    if (path === "/changes" && !isOther) await this.change(Number(address.searchParams.get("after")), signal!);
    if (method === "PUT" && path.startsWith("/work")) this.users.push(new Headers(headers).get("X-Segvoc-User") ?? "");
    const files = body instanceof Uint8Array ? await unzipped(body) : {};
    const role = (new Headers(headers).get("Authorization")?.split(" ")[1] ?? "administer") as Role;
    const answer = isOther || fate === "refused" ? isOther || refused("not now") : this.answer(method, path, address.searchParams, revision, files, body, role);
    await new Promise((resolve) => waits(resolve));
    if (fate === "unanswered") throw new TypeError("lost");
    return answer;
  }

  private answer(method: string, path: string, query: URLSearchParams, revision: number, files: Unzipped, body: unknown, role: Role) {
    const [, kind, image] = path.split("/");
    const change = query.get("change")!,
      isMade = this.made.has(change);
    const state = this.states.get(image);
    const needed = method === "DELETE" ? "administer" : method === "GET" ? "read" : "annotate";
    if (ROLES.indexOf(role) < ROLES.indexOf(needed)) return refused(`this needs an API key with the role ${needed}`, 403);
    if (method === "GET" && kind === "changes") return Response.json(this.changes(Number(query.get("after"))));
    if (method === "GET" && kind === "images") return new Response("image");
    if (method === "GET" && kind === "work") return this.sent(this.work.get(image));
    if (method === "PUT" && kind === "work") {
      if (!state) return missing();
      if (isMade) return Response.json(state);
      if (revision !== state.revision) return Response.json({ current: state }, { status: 412 });
      const isKept = query.get("draft") === "kept";
      if (isKept && (!this.work.has(image) || files["draft.png"])) return refused("there is no draft to keep");
      const unknown = idsOf(files).find((id) => !this.project.words.some((word) => word.id === id));
      if (unknown !== undefined) return refused(`${unknown} is the id of no word`);
      const sent = JSON.parse(new TextDecoder().decode(files["state.json"])) as ImageState;
      const next = { ...sent, revision: Math.max(revision + 1, this.least), done: query.get("done") === "true", change };
      const kept = isKept ? ["draft.png", "confidence.png", "parts.png"].map((name) => [name, this.work.get(image)![name]]) : [];
      this.work.set(image, { ...Object.fromEntries(kept.filter(([, file]) => file)), ...files, "state.json": new TextEncoder().encode(JSON.stringify(next)) });
      this.states.set(image, next);
      this.made.add(change);
      this.append("labels", image);
      return Response.json(next);
    }
    if (kind === "review" && state) {
      if (isMade) return Response.json(state);
      if (revision !== state.revision) return Response.json({ current: state }, { status: 412 });
      const review = { ...(JSON.parse(body as string) as Pick<Review, "verdict" | "comment">), by: null, at: null };
      const next = { ...state, revision: revision + 1, done: review.verdict === "accepted", review };
      this.work.set(image, { ...this.work.get(image)!, "state.json": new TextEncoder().encode(JSON.stringify(next)) });
      this.states.set(image, next);
      this.made.add(change);
      this.append(review.verdict, image);
      return Response.json(next);
    }
    if (method === "POST" && kind === "images") {
      const { name } = (body as FormData).get("image") as File;
      if (!isMade) {
        const { id } = this.added(name);
        this.made.add(change);
        this.append("added", id);
      }
      return Response.json({ added: [[...this.states.values()].findLast((one) => one.image === name)], problems: [] });
    }
    if (kind === "merged" && !isMade) {
      const { word, into } = JSON.parse(body as string) as { word: number; into: number };
      const words = this.project.words.map((one) => (one.id === word ? { ...one, removed: true, merged_into: into } : one));
      this.project = { ...this.project, words, revision: this.project.revision + 1 };
      this.made.add(change);
      this.append("words", null);
    }
    if (kind === "images" || kind === "restored") {
      const [from, to] = kind === "images" ? [this.states, this.trash] : [this.trash, this.states];
      const moved = from.get(image);
      if (!moved && !isMade) return missing();
      if (moved && !isMade) {
        from.delete(image);
        to.set(image, moved);
        this.made.add(change);
        this.append(kind === "images" ? "removed" : "restored", image);
      }
      return Response.json(to.get(image) ?? {});
    }
    if (method === "PUT" && !isMade) {
      const names = (JSON.parse(body as string) as Project).words.flatMap(({ name, removed }) => (removed ? [] : [folded(name)]));
      if (new Set(names).size < names.length) return refused("a word is given twice; name it once");
      if (revision !== this.project.revision) return Response.json({ current: this.project }, { status: 412 });
      this.project = { ...(JSON.parse(body as string) as Project), revision: revision + 1 };
      this.made.add(change);
      this.append("words", null);
    }
    return Response.json({ ...this.project, id: this.id, user: this.keyName, ...(this.saysRole && { role }), seq: this.history.length, images: [...this.states.values()], removed: [...this.trash.values()], problems: [] });
  }

  private async sent(files: Unzipped | undefined): Promise<Response> {
    return files ? new Response(await zip(files)) : missing();
  }

  private changes(after: number) {
    if (after < this.first) return { seq: this.history.length, changes: [], states: {}, restart: true };
    const changes = this.history.slice(after);
    const states = changes.flatMap(({ image_id: id }) => (id && this.states.has(id) ? [[id, this.states.get(id)]] : []));
    const project = changes.some(({ what }) => what === "words") && { project: this.project };
    return { seq: this.history.length, changes, states: Object.fromEntries(states), ...project };
  }

  private append(what: string, image_id: string | null): void {
    this.history.push({ seq: this.history.length + 1, what, image_id });
    for (const tell of this.waiting.splice(0)) tell();
  }

  private async change(after: number, signal: AbortSignal): Promise<void> {
    if (this.history.length > after || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.waiting.push(resolve);
      signal.addEventListener("abort", () => resolve());
    });
    if (signal.aborted) throw new DOMException("closed", "AbortError");
  }

  /** The words of an image's pixels. */
  labels(image: string): string[] {
    const { data } = decode(this.work.get(image)!["labels.png"]);
    const merged = mergedIds(this.project.words);
    return Array.from(data, (id) => this.project.words.find((word) => word.id === (merged.get(id) ?? id))!.name);
  }
}

function refused(message: string, status = 422): Response {
  return Response.json({ error: { code: status === 403 ? "forbidden" : "invalid_request", message } }, { status });
}

/** The ids of words that a work file gives to pixels. */
function idsOf(files: Unzipped): number[] {
  const ids = (name: string, offset: number, none: number) =>
    files[name] ? [...new Set(decode(files[name]).data)].filter((value) => value >= offset && value !== none).map((value) => value - offset) : [];
  // a bit of corrections tells how firm they are
  const corrected = ids("corrections.png", 0, -1).map((code) => (code & 0x7fff) - 2);
  return [...ids("labels.png", 0, 255), ...ids("draft.png", 0, 65535), ...corrected.filter((id) => id >= 0)];
}

function missing(): Response {
  return Response.json({ error: { message: "there is none" } }, { status: 404 });
}

const NEVER = new Promise<never>(() => {});

/** Everybody who works on a project. */
export const people: Person[] = [];

/** A tab of somebody who works on the project with a browser, of which tabs share the database. */
export class Person {
  session!: Session;
  store!: RemoteStore;
  /** Types a name. */
  name!: (user: string) => void;
  private isKilled = { value: false };

  constructor(
    private readonly service: ProjectService,
    readonly database: Database,
    private readonly role: Role,
  ) {}

  static async of(service: ProjectService, role: Role = "administer", database?: Database): Promise<Person> {
    const person = new Person(service, database ?? (await Database.open()), role);
    people.push(person);
    await person.open();
    return person;
  }

  /** Opens the page, again after `close` or `kill`. */
  async open(): Promise<void> {
    const packer = { pack: encodeWork, unpack: decodeWork } as unknown as WorkPacker;
    const api = new ProjectApi(new URL(`http://${this.service.host}/v1/project`));
    api.key = this.role;
    const isKilled = (this.isKilled = { value: false });
    const { database } = this;
    const write = async (entries: readonly Entry[]) => {
      await new Promise((resolve) => setImmediate(resolve));
      await (isKilled.value ? NEVER : database.write(entries));
    };
    const ask = api as unknown as { ask: (...request: unknown[]) => Promise<unknown> };
    const before = ask.ask;
    // also of its requests under another name
    ask.ask = function (...request) {
      return isKilled.value ? NEVER : before.apply(this, request).finally(() => isKilled.value && NEVER);
    };
    const served = await api.get();
    api.project = served;
    this.name = (user) => (api.user = user);
    this.store = new RemoteStore(api, Object.assign(Object.create(database), { write }) as Database, packer, served);
    this.session = new Session(this.store);
    await this.session.restore();
    await this.session.openLast();
  }

  /** The page ends, and has written what it had. */
  close(): void {
    Object.assign(this.database, { close() {} });
    this.session.close();
  }

  /** The tab ends at once, whatever goes on: it neither writes nor sends or hears anything any more. */
  kill(): void {
    this.isKilled.value = true;
    locks.delete(`segvoc ${this.inside.outbox.tab}`);
  }

  async label(...words: string[]): Promise<void> {
    lookFor(this.session.settings, words);
    const item = this.session.items.value[0];
    await this.session.take(item, found(["0".repeat(WIDTH)], words), "question");
  }

  /** Paints a pixel; nothing where the image is done. */
  paint(pixel: number, word: string): void {
    const { current, canCorrect } = this.session;
    if (!canCorrect.value) return;
    current.value!.paint(Int32Array.of(pixel, 1), entryOf(this.session.settings.vocabulary.value, word)!.id);
    current.value!.finish();
    this.session.keepEdits(current.value!);
  }

  /** The words that the page shows. */
  get labels(): string[] {
    const labeling = this.session.current.value!.labeling.value!;
    return Array.from(labeling.labels, (id) => labeling.word(id).name);
  }

  private get inside() {
    return this.store as unknown as { outbox: Outbox; sender: { sending: Loop }; follower: { showing: Loop; sequence: number } };
  }

  /** Whether the page knows of every change of the service. */
  get isHeard(): boolean {
    return this.inside.follower.sequence === this.service.history.length;
  }

  /** Whether nothing waits, and everything of the service is shown. */
  get isIdle(): boolean {
    const { follower, sender } = this.inside;
    const isSent = this.isKilled.value || (!this.store.waiting.value && !this.session.writer.pending.value && !sender.sending.isRunning);
    return isSent && !follower.showing.isRunning && this.isHeard;
  }
}

/** Waits until something holds. */
export async function until(holds: () => boolean, what = "it ends"): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 5000) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => waits(resolve, 1));
  }
}

export function idle(...people: Person[]): Promise<void> {
  return until(() => people.every(({ isIdle }) => isIdle), "nothing waits");
}
