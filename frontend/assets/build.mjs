// Bundles src/ into ../static/ under hashed names and writes ../static/manifest.json, which maps an entry's
// plain name ("app.js") to its hashed file; beside each lies a gzipped copy. Old bundles are removed first, so the folder never grows.
// Scripts that draw are modules over one shared chunk with ECharts in it; "figures.js:imports" names what comes along.
import { build } from "esbuild";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static");
await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });

const shared = {
  absWorkingDir: here,
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  chunkNames: "shared-[hash]",
  outdir: target,
  bundle: true,
  minify: true,
  target: ["es2022"],
  legalComments: "linked",
  metafile: true,
  logLevel: "warning",
};
const scripts = ["theme.ts", "app.ts", "endpoints.ts", "upload.ts", "hasher.ts", "apidocs.ts", "app.css", "apidocs.css"];
const drawing = ["charts.ts", "figures.ts"];
const from = (names) => names.map((name) => `src/${name}`);
const results = await Promise.all([
  build({ ...shared, entryPoints: from(scripts), format: "iife" }),
  build({ ...shared, entryPoints: from(drawing), format: "esm", splitting: true }),
]);

const manifest = {};
for (const [file, output] of results.flatMap((result) => Object.entries(result.metafile.outputs))) {
  const name = basename(file);
  if (!/\.(js|css)$/.test(name)) continue;
  if (output.entryPoint) {
    const plain = name.replace(/-[A-Z0-9]{8}(\.\w+)$/, "$1");
    manifest[plain] = name;
    const imports = output.imports.filter((one) => one.kind === "import-statement").map((one) => basename(one.path));
    if (imports.length) manifest[`${plain}:imports`] = imports.join(" ");
  }
  await writeFile(join(target, `${name}.gz`), gzipSync(await readFile(join(target, name)), { level: 9 }));
}
const pending = join(target, "manifest.json.tmp");
await writeFile(pending, JSON.stringify(manifest, null, 2) + "\n");
await rename(pending, join(target, "manifest.json"));
