/** A zip that is written file by file, while memory holds only the file that is written. */

import { Zip, ZipDeflate, ZipPassThrough } from "fflate";

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
