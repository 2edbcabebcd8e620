/** Zips: written file by file, and read as a whole; `unzipit` reads one file of a large one. */

import { makeZip } from "client-zip";
import { unzip, type ZipEntry } from "unzipit";

export interface ZippedFile {
  readonly name: string;
  readonly input: Uint8Array<ArrayBuffer> | Blob | string;
}

/** A zip of any size, of which the page's memory never holds more than one file. */
export async function zipped(files: Iterable<ZippedFile> | AsyncIterable<ZippedFile>): Promise<Blob> {
  const parts: Blob[] = [];
  const reader = makeZip(files).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read())
    parts.push(new Blob([part.value as Uint8Array<ArrayBuffer>]));
  return new Blob(parts, { type: "application/zip" });
}

export type Unzipped = Readonly<Record<string, Uint8Array<ArrayBuffer>>>;

/** The contents of all files by their names. @throws Error it is no zip, or a damaged one. */
export async function unzipped(zip: Uint8Array): Promise<Unzipped> {
  const { entries } = await unzip(zip);
  const read = async (entry: ZipEntry) => [entry.name, new Uint8Array(await entry.arrayBuffer())] as const;
  return Object.fromEntries(await Promise.all(Object.values(entries).map(read)));
}
