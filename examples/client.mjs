// Label a folder of photographs by a service (`segvoc serve`), and write each label map as soon as it comes (Node 18+).
//
//     node examples/client.mjs http://127.0.0.1:8000 photos "cat, sofa, wall" out
//
// Four photographs are sent at a time. Requests are repeated if a connection or an answer breaks off, and after the time in
// Retry-After if the service is busy (429, 503). Photographs with a result in `out` are skipped. The key is SEGVOC_API_KEY.
import { existsSync } from "node:fs";
import { mkdir, readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join, parse } from "node:path";

const IN_FLIGHT = 4;
const TRIES = 20;
const [address, folder, words, out] = process.argv.slice(2);
const headers = { Accept: "image/png" };
if (process.env.SEGVOC_API_KEY) headers.Authorization = `Bearer ${process.env.SEGVOC_API_KEY}`;

async function whole(coming) {
  const answer = await coming;
  return { status: answer.status, headers: answer.headers, body: Buffer.from(await answer.arrayBuffer()) };
}

async function answered(name, content) {
  for (let tries = 1; ; tries += 1) {
    const form = new FormData();
    form.set("image", new Blob([content]), name);
    form.set("words", words);
    const answer = await whole(fetch(`${address}/v1/segment`, { method: "POST", headers, body: form })).catch((error) => {
      if (tries === TRIES) throw error;
    });
    if (answer && (![429, 502, 503].includes(answer.status) || tries === TRIES)) return answer;
    const seconds = Number(answer?.headers.get("Retry-After")) || Math.min(30, 0.25 * 2 ** tries);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

async function label(name) {
  const result = join(out, `${parse(name).name}.png`);
  if (existsSync(result)) return console.log(`${name}: done before`);
  const answer = await answered(name, await readFile(join(folder, name)));
  if (answer.status !== 200) throw new Error(`${name}: ${JSON.parse(answer.body).error.message}`);
  await writeFile(`${result}.part`, answer.body); // a result is whole or not there
  await rename(`${result}.part`, result);
  console.log(`${name}: ${answer.headers.get("X-Segvoc-Model")}`);
}

await mkdir(out, { recursive: true });
const photos = (await readdir(folder)).filter((name) => /\.(jpg|png)$/.test(name)).sort();
const worker = async () => {
  while (photos.length) {
    await label(photos.shift()).catch((error) => {
      console.error(error.message);
      process.exitCode = 1;
    });
  }
};
await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
