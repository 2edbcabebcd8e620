/** Zips of any size, of which memory never holds more than one file: written, and read. */

import { inflateSync, Zip, ZipDeflate, ZipPassThrough } from "fflate";

import { PageError } from "../backend";

/** Files that are packed already. */
const PACKED = /\.(png|jpe?g|webp|gif|zip|avif|safetensors)$/i;

/** Most bytes of a zip that this page writes: 4 GiB, less a little for its directory. */
const MOST_BYTES = 2 ** 32 - 2 ** 26;

/** Bytes after which the browser takes what was written out of the page's memory. */
const PORTION = 8e6;

export class Archive {
  private readonly parts: Blob[] = [];
  private chunks: Uint8Array<ArrayBuffer>[] = [];
  private size = 0;
  private waiting = 0;
  private failure: unknown = null;
  private readonly zip = new Zip((error, chunk) => {
    if (error) this.failure = error;
    else this.take(chunk as Uint8Array<ArrayBuffer>);
  });

  /** @throws PageError the zip gets too large. */
  add(name: string, content: Uint8Array): void {
    const file = PACKED.test(name) ? new ZipPassThrough(name) : new ZipDeflate(name, { level: 6 });
    this.zip.add(file);
    file.push(content, true);
    if (this.size > MOST_BYTES) throw new PageError("This is more than a zip holds (4 GB); save fewer images at a time.");
  }

  addText(name: string, text: string): void {
    this.add(name, new TextEncoder().encode(text));
  }

  async addBlob(name: string, content: Blob): Promise<void> {
    this.add(name, new Uint8Array(await content.arrayBuffer()));
  }

  finish(): Blob {
    this.zip.end();
    if (this.failure) throw this.failure;
    return new Blob([...this.parts, ...this.chunks], { type: "application/zip" });
  }

  private take(chunk: Uint8Array<ArrayBuffer>): void {
    this.chunks.push(chunk);
    this.size += chunk.length;
    this.waiting += chunk.length;
    if (this.waiting < PORTION) return;
    this.parts.push(new Blob(this.chunks));
    this.chunks = [];
    this.waiting = 0;
  }
}

const END = 0x06054b50,
  END_64 = 0x06064b50,
  LOCATOR_64 = 0x07064b50,
  ENTRY = 0x02014b50,
  LOCAL = 0x04034b50;

/** Bytes at the end of a zip in which its directory's place is: the record, and the longest comment. */
const TAIL = 22 + 65_535;

/** A 32-bit value that says: look in the 64-bit field. */
const LARGE = 0xffffffff;

interface Entry {
  readonly method: number;
  readonly packed: number;
  readonly size: number;
  readonly offset: number;
}

export class ZipReader {
  private constructor(
    private readonly file: Blob,
    private readonly entries: ReadonlyMap<string, Entry>,
  ) {}

  /** @throws Error the file is no zip. */
  static async open(file: Blob): Promise<ZipReader> {
    const start = Math.max(0, file.size - TAIL);
    const tail = await view(file, start, file.size);
    let at = tail.byteLength - 22;
    while (at >= 0 && tail.getUint32(at, true) !== END) at--;
    if (at < 0) throw new Error("it is no zip");
    let [size, offset] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
    if (at >= 20 && tail.getUint32(at - 20, true) === LOCATOR_64) {
      const place = whole(tail, at - 20 + 8);
      const record = await view(file, place, place + 56);
      if (record.getUint32(0, true) !== END_64) throw new Error("its directory is damaged");
      [size, offset] = [whole(record, 40), whole(record, 48)];
    }
    return new ZipReader(file, directory(await view(file, offset, offset + size)));
  }

  get names(): string[] {
    return [...this.entries.keys()];
  }

  has(name: string): boolean {
    return this.entries.has(name);
  }

  /** @throws Error there is no such file, or it is damaged. */
  async read(name: string): Promise<Uint8Array<ArrayBuffer>> {
    const entry = this.entries.get(name);
    if (!entry) throw new Error(`it has no ${name}`);
    const header = await view(this.file, entry.offset, entry.offset + 30);
    if (header.getUint32(0, true) !== LOCAL) throw new Error(`${name} is damaged`);
    const start = entry.offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    const packed = new Uint8Array(await this.file.slice(start, start + entry.packed).arrayBuffer());
    if (entry.method === 0) return packed;
    if (entry.method !== 8) throw new Error(`${name} is packed in a way that this page doesn't know`);
    return inflateSync(packed, { out: new Uint8Array(entry.size) }) as Uint8Array<ArrayBuffer>;
  }

  async text(name: string): Promise<string> {
    return new TextDecoder().decode(await this.read(name));
  }
}

function directory(view: DataView): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (let at = 0; at + 46 <= view.byteLength && view.getUint32(at, true) === ENTRY;) {
    const [nameLength, extraLength, commentLength] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const name = new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, nameLength));
    const sizes = { size: 24, packed: 20, offset: 42 } as const;
    const found = { size: 0, packed: 0, offset: 0 };
    let extra = field64(view, at + 46 + nameLength, extraLength);
    for (const key of ["size", "packed", "offset"] as const) {
      found[key] = view.getUint32(at + sizes[key], true);
      if (found[key] !== LARGE) continue;
      found[key] = whole(view, extra);
      extra += 8;
    }
    if (!name.endsWith("/")) entries.set(name, { method: view.getUint16(at + 10, true), ...found });
    at += 46 + nameLength + extraLength + commentLength;
  }
  return entries;
}

/** Where the 64-bit values of an entry are. */
function field64(view: DataView, start: number, length: number): number {
  for (let at = start; at + 4 <= start + length; at += 4 + view.getUint16(at + 2, true))
    if (view.getUint16(at, true) === 1) return at + 4;
  return start;
}

function whole(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true));
}

async function view(file: Blob, start: number, end: number): Promise<DataView> {
  return new DataView(await file.slice(start, end).arrayBuffer());
}
