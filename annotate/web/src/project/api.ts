/** The addresses of a project that a service has. */

import { KeyError, PageError, TransientError } from "../backend";
import { refusal, refused, send } from "../service/requests";
import type { ImageState, Project, Role } from "./structure";
import type { Rows } from "./work_file";

export interface ServedProject extends Project {
  readonly id: string;
  readonly seq: number;
  readonly images: readonly ImageState[];
  /** The one that was removed last is the last. */
  readonly removed: readonly { readonly id: string; readonly image: string }[];
  /** What is wrong with images or files, a line each. */
  readonly problems: readonly string[];
  /** The name of the reader's key, if it has one, which signs all that it does. */
  readonly user?: string | null;
  /** What the reader's key may do, if the service says so. */
  readonly role?: Role;
}

export interface Changes {
  readonly seq: number;
  readonly changes: readonly { readonly what: string; readonly image_id: string | null; readonly by: string }[];
  /** Whether the service doesn't know the number, since older files were put back: everything may be another. */
  readonly restart?: boolean;
  /** By id. */
  readonly states: Readonly<Record<string, ImageState>>;
  readonly project?: Project;
}

/** What is to be changed has another revision than this page knows. */
export class ConflictError extends PageError {
  constructor(readonly current: unknown) {
    super("Somebody else was faster; look at what has changed, and try again.");
  }
}

/** The service has no such image, or nothing about it yet. */
export class MissingError extends PageError {
  override readonly name = "MissingError";
}

/** Another project is served at this address: what is sent waits until its own one is there again. */
export class AnotherProjectError extends TransientError {}

/** Whether a failure says nothing about what was sent. */
export function isPassing(failure: unknown): boolean {
  return failure instanceof TransientError || failure instanceof KeyError;
}

/** How long a request for changes waits for some [s]. */
const WAIT = 25;

export class ProjectApi {
  key = "";
  user = "";
  /** The project that is meant, once it is known. */
  project: Pick<ServedProject, "id" | "name"> | null = null;

  /** @param address of `v1/project`. */
  constructor(private readonly address: URL) {}

  /** Requests under another name, where there are no keys. */
  as(user: string): ProjectApi {
    return Object.assign(Object.create(ProjectApi.prototype) as ProjectApi, this, { user });
  }

  get(): Promise<ServedProject> {
    return this.json("GET", "");
  }

  put({ name, words, options }: Project, revision: number, change: string): Promise<ServedProject> {
    return this.json("PUT", "", { revision, change, body: { name, words, options } });
  }

  changes(after: number, signal: AbortSignal): Promise<Changes> {
    return this.json("GET", `/changes?after=${after}&wait=${WAIT}`, { signal });
  }

  async add(file: File, name: string, change: string): Promise<ImageState> {
    const form = new FormData();
    form.append("image", file, name);
    const answer = await this.json<{ added: ImageState[]; problems: string[] }>("POST", "/images", { change, body: form });
    if (answer.added[0]) return answer.added[0];
    throw new PageError(answer.problems[0] ?? `The service didn't take “${name}”.`);
  }

  async addVideo(file: File, every: number): Promise<ImageState[]> {
    const form = new FormData();
    form.append("video", file, file.name);
    form.append("every", String(every));
    const { added, problems } = await this.json<{ added: ImageState[]; problems: string[] }>("POST", "/videos", { body: form });
    if (problems[0]) throw new PageError(problems[0]);
    return added;
  }

  /** The work file of an image; null: there is none yet. */
  async work(id: string): Promise<Uint8Array<ArrayBuffer> | null> {
    try {
      return new Uint8Array(await (await this.ask("GET", pathOf("work", id))).arrayBuffer());
    } catch (failure) {
      if (failure instanceof MissingError) return null;
      throw failure;
    }
  }

  /**
   * @param hasDraft whether the content has what the model found; else it stays.
   * @param rows those that the content has, without a draft; null: all.
   */
  putWork(
    id: string,
    content: Uint8Array<ArrayBuffer>,
    revision: number,
    done: boolean,
    hasDraft: boolean,
    change: string,
    rows: Rows | null = null,
  ): Promise<ImageState> {
    const kept = `${hasDraft ? "" : "&draft=kept"}${rows ? `&rows=${rows[0]}-${rows[1]}` : ""}`;
    return this.json("PUT", `${pathOf("work", id)}?done=${done}${kept}`, { revision, change, body: content });
  }

  /** A file of an image, such as its thumbnail. */
  fileOf(id: string, kind: string, query = ""): Promise<Blob> {
    return this.download(pathOf(kind, id) + query);
  }

  async download(path: string): Promise<Blob> {
    return (await this.ask("GET", path)).blob();
  }

  async json<Answer>(method: string, path: string, options: Options = {}): Promise<Answer> {
    return (await (await this.ask(method, path, options)).json()) as Answer;
  }

  /**
   * @throws ConflictError somebody else was faster.
   * @throws PageError the service refuses, or can't be reached.
   */
  private async ask(method: string, path: string, { revision, change, body, signal }: Options = {}): Promise<Response> {
    const headers = new Headers();
    if (this.user) headers.set("X-Segvoc-User", encodeURIComponent(this.user));
    if (this.project) headers.set("X-Segvoc-Project", this.project.id);
    if (revision !== undefined) headers.set("If-Match", `"${revision}"`);
    const isFile = body instanceof Uint8Array,
      isForm = body instanceof FormData;
    if (body && !isForm) headers.set("Content-Type", isFile ? "application/zip" : "application/json");
    const sent = body && (isFile || isForm ? body : JSON.stringify(body));
    const init = { method, headers, ...(sent && { body: sent }), ...(signal && { signal }) };
    const address = new URL(this.address.href + path);
    if (change !== undefined) address.searchParams.set("change", change);
    const response = await send(address, this.key, init);
    if (response.ok) return response;
    const { status } = response;
    const { code, message, current, project } = await refused(response);
    if (code === "another_project") {
      const [mine, other] = [this.project!.name, (project as ServedProject).name];
      throw new AnotherProjectError(
        `This page was opened for the project “${mine}”, and “${other}” answers now: changes wait for “${mine}”. Load the page again to work on “${other}”.`,
      );
    }
    if (status === 412) throw new ConflictError(current);
    if (status === 404) throw new MissingError(message);
    // a damaged file stays so, and only its image is refused
    throw refusal(response, message, status === 429 || (status >= 500 && code !== "damaged"));
  }
}

/** The path of what the service has of an image, such as its work. */
export function pathOf(kind: string, id: string): string {
  return `/${kind}/${encodeURIComponent(id)}`;
}

interface Options {
  readonly revision?: number;
  /** The id of a change: the service makes it once, however often it is sent. */
  readonly change?: string;
  /** A form, a zip, or what is sent as JSON. */
  readonly body?: FormData | Uint8Array<ArrayBuffer> | object;
  readonly signal?: AbortSignal;
}
