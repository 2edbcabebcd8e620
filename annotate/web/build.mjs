// Builds the page into annotate/src/segvoc_annotate/web, or with --tests the tests into build/web/tests.
//
// The built files are in the repository, ONNX Runtime's WebAssembly file packed.
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";

import { build } from "esbuild";

const RUNTIME = "ort-wasm-simd-threaded";
const target = new URL(process.env.SEGVOC_WEB_OUT ?? "../src/segvoc_annotate/web/", new URL(".", import.meta.url));
const packages = new URL("node_modules/", import.meta.url);

const shared = {
  absWorkingDir: new URL(".", import.meta.url).pathname,
  bundle: true,
  format: "esm",
  target: "es2022",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  logLevel: "warning",
};

if (process.argv.includes("--tests")) {
  const tests = readdirSync(new URL("tests/", import.meta.url)).filter((name) => name.endsWith(".test.ts"));
  const outdir = new URL("../../build/web/tests", import.meta.url).pathname;
  rmSync(outdir, { recursive: true, force: true });
  await build({ ...shared, entryPoints: tests.map((name) => `tests/${name}`), outdir, outExtension: { ".js": ".mjs" }, platform: "node" });
} else {
  mkdirSync(target, { recursive: true });
  await build({
    ...shared,
    entryPoints: {
      app: "src/main.tsx",
      worker: "src/onnx/worker.ts",
      clicks: "src/onnx/click_worker.ts",
      work: "src/project/work_worker.ts",
      style: "style.css",
    },
    outdir: target.pathname,
    minify: true,
    legalComments: "none",
    // Node's branch of ONNX Runtime's loader is never run in a browser
    external: ["node:*", "module", "worker_threads"],
  });
  for (const name of ["index.html", "icon.svg", "example.jpg", "backends.json"]) copyFileSync(new URL(name, import.meta.url), new URL(name, target));
  writeFileSync(new URL("licenses.txt", target), licenses());
  const distribution = new URL("onnxruntime-web/dist/", packages);
  copyFileSync(new URL(`${RUNTIME}.mjs`, distribution), new URL(`${RUNTIME}.mjs`, target));
  const wasm = readFileSync(new URL(`${RUNTIME}.wasm`, distribution));
  const packed = new URL(`${RUNTIME}.wasm.gz`, target);
  // another zlib would write other bytes into the repository
  if (!existsSync(packed) || !gunzipSync(readFileSync(packed)).equals(wasm)) writeFileSync(packed, gzipSync(wasm, { level: 9 }));
  const description = {
    package: `onnxruntime-web ${packageOf("onnxruntime-web").version}`,
    file: `${RUNTIME}.wasm`,
    bytes: wasm.length,
    sha256: createHash("sha256").update(wasm).digest("hex"),
  };
  writeFileSync(new URL("runtime.json", target), `${JSON.stringify(description, null, 1)}\n`);
}

function packageOf(name) {
  return JSON.parse(readFileSync(new URL(`${name}/package.json`, packages), "utf8"));
}

/** The licenses of all packages whose code is in the built files, and of what ONNX Runtime is compiled from. */
function licenses() {
  const bundled = [
    "@huggingface/tokenizers",
    "@preact/signals",
    "@preact/signals-core",
    "client-zip",
    "comlink",
    "fast-png",
    "fflate",
    "idb",
    "iobuffer",
    "onnxruntime-common",
    "onnxruntime-web",
    "preact",
    "unzipit",
  ];
  const texts = bundled.map((name) => {
    const { version, license } = packageOf(name);
    // the packages of ONNX Runtime name their license, but lack its text
    const file = name.startsWith("onnxruntime")
      ? new URL("licenses/onnxruntime.txt", import.meta.url)
      : new URL(`${name}/${readdirSync(new URL(name, packages)).find((one) => one.startsWith("LICENSE"))}`, packages);
    return `${name} ${version} (${license})\n${"=".repeat(60)}\n${readFileSync(file, "utf8").trim()}\n`;
  });
  // ThirdPartyNotices.txt of the wheel of onnxruntime of the same version: npm's package has none
  const file = `licenses/onnxruntime-${packageOf("onnxruntime-web").version}-third-party.txt`;
  const notices = readFileSync(new URL(file, import.meta.url), "utf8").trim();
  return [...texts, `In ${RUNTIME}.wasm\n${"=".repeat(60)}\n${notices}\n`].join("\n");
}
