// Bundles src/ into ../static/ under hashed names and writes ../static/manifest.json, which maps an entry's
// plain name ("app.js") to its hashed file; beside each lies a gzipped copy. Old bundles are removed first, so the folder never grows.
import { build } from "esbuild";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "static");
await rm(target, { recursive: true, force: true });
await mkdir(target, { recursive: true });

const result = await build({
  absWorkingDir: here,
  entryPoints: [
    "src/theme.ts",
    "src/app.ts",
    "src/charts.ts",
    "src/endpoints.ts",
    "src/figures.ts",
    "src/upload.ts",
    "src/hasher.ts",
    "src/apidocs.ts",
    "src/app.css",
    "src/apidocs.css",
  ],
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  outdir: target,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  legalComments: "linked",
  metafile: true,
  logLevel: "warning",
});

const manifest = {};
for (const [file, output] of Object.entries(result.metafile.outputs)) {
  if (!output.entryPoint) continue;
  const name = basename(file);
  const plain = name.replace(/-[A-Z0-9]{8}(\.\w+)$/, "$1");
  manifest[plain] = name;
  await writeFile(join(target, `${name}.gz`), gzipSync(await readFile(join(target, name)), { level: 9 }));
}
const pending = join(target, "manifest.json.tmp");
await writeFile(pending, JSON.stringify(manifest, null, 2) + "\n");
await rename(pending, join(target, "manifest.json"));
