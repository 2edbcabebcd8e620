/** Reads files of a page, and starts ONNX Runtime in a worker. */

import * as ort from "onnxruntime-web/wasm";

import { PageError, type Progress } from "../backend";

/**
 * The bytes of several files, read at the same time.
 *
 * @param folder that names are relative to.
 * @param sizes the size of each file, by name [bytes]; 0: unknown.
 * @param progress called with the share that is there of all files.
 */
export async function readFiles(
  folder: URL,
  sizes: Readonly<Record<string, number>>,
  progress: Progress = () => {},
): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const total = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  let loaded = 0;
  const count = (bytes: number) => {
    loaded += bytes;
    progress(Math.min(1, loaded / Math.max(1, total)));
  };
  const read = async ([name, size]: [string, number]) => [name, await readFile(folder, name, size, count)] as const;
  return new Map(await Promise.all(Object.entries(sizes).map(read)));
}

async function readFile(
  folder: URL,
  name: string,
  size: number,
  count: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const { body } = await request(new URL(name, folder));
  const counting = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(part, loaded) {
      count(part.length);
      loaded.enqueue(part);
    },
  });
  const content = await new Response(body!.pipeThrough(counting)).arrayBuffer().catch(() => {
    throw new PageError(`The connection broke while ${name} was loading; load the page again.`);
  });
  if (size && content.byteLength !== size)
    throw new PageError(`The file ${name} has ${content.byteLength} bytes instead of ${size}; export the page again.`);
  return new Uint8Array(content);
}

export async function json(address: URL): Promise<unknown> {
  const response = await request(address);
  try {
    return await response.json();
  } catch {
    throw new PageError(`The file ${address.pathname} isn't valid JSON; export the page again.`);
  }
}

/** The contents of a gzipped file, unpacked while it arrives; some servers unpack such files on their way. */
async function unzipped(address: URL): Promise<ArrayBuffer> {
  const [start, content] = (await request(address)).body!.tee();
  const reader = start.getReader();
  const { value } = await reader.read();
  void reader.cancel();
  const isPacked = value?.[0] === 0x1f && value[1] === 0x8b;
  return new Response(isPacked ? content.pipeThrough(new DecompressionStream("gzip")) : content).arrayBuffer();
}

async function request(address: URL): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address);
  } catch {
    throw new PageError(
      address.protocol === "file:"
        ? "Browsers don't let a page read files beside it from a disk; serve its folder: python -m http.server"
        : `The file ${address.pathname} can't be reached; check the connection, and load the page again.`,
    );
  }
  if (!response.ok)
    throw new PageError(`The file ${address.pathname} is missing (${response.status}); export the page again.`);
  return response;
}

/** ONNX Runtime's WebAssembly file, beside this script. */
const FILE = "ort-wasm-simd-threaded.wasm.gz";

/** More threads hardly help a small network. */
const MOST_THREADS = 4;

/** A program that returns its input, y = x. */
const IDENTITY = Uint8Array.from(
  atob("CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQEQ=="),
  (character) => character.charCodeAt(0),
);

export async function prepareRuntime(): Promise<void> {
  const here = new URL(".", self.location.href);
  ort.env.wasm.wasmPaths = { mjs: new URL("ort-wasm-simd-threaded.mjs", here).href };
  ort.env.wasm.wasmBinary = await unzipped(new URL(FILE, here));
  // threads share memory, which browsers allow only to pages that are isolated from other origins
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, self.navigator.hardwareConcurrency) : 1;
  // opening a program compiles the WebAssembly and starts threads, for which the network's files needn't be there
  await (await ort.InferenceSession.create(IDENTITY, { executionProviders: ["wasm"] })).release();
}
