/**
 * The program as plain JavaScript without packages beside it: `main.mjs` and what it loads when it is needed, each a file. The same input gives the same bytes. Licences of all
 * that is in it are collected into one file.
 */
import { existsSync, readFileSync, readdirSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import { build } from "esbuild"

/** What some packages call to load others; a bundle has none left to load but Node's own. */
const REQUIRE = "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);"

export type Bundle = { readonly fileCount: number; readonly bytes: number; readonly packages: readonly string[] }

/** Writes the bundle into `directory`, which is made. */
export async function bundleProgram(root: string, directory: string): Promise<Bundle> {
  await mkdir(directory, { recursive: true })
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ["cli/main.ts"],
    outdir: directory,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node24",
    outExtension: { ".js": ".mjs" },
    banner: { js: REQUIRE },
    // Names stay: they stand in errors.
    keepNames: true,
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: "none",
    metafile: true,
    logLevel: "error",
  })
  const packages = packagesOf(Object.keys(metafile.inputs))
  await writeFile(join(directory, "LICENCES"), packages.map((name) => licenceOf(root, name)).join("\n"))
  const outputs = Object.values(metafile.outputs)
  return { fileCount: outputs.length, bytes: outputs.reduce((sum, { bytes }) => sum + bytes, 0), packages }
}

/** Paths below node_modules of the packages that these files are of. */
function packagesOf(inputs: readonly string[]): string[] {
  const names = inputs.flatMap((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [])
  return [...new Set(names)].sort()
}

function licenceOf(root: string, path: string): string {
  const directory = join(root, path)
  const { name, version, license } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8")) as Record<string, unknown>
  const file = existsSync(directory) ? readdirSync(directory).find((entry) => /^(licen[cs]e|copying)/i.test(entry)) : undefined
  const text = file === undefined ? "" : readFileSync(join(directory, file), "utf8").trim()
  return `${"=".repeat(80)}\n${String(name)} ${String(version)}: ${typeof license === "string" ? license : "see below"} (${relative(root, directory)})\n\n${text}\n`
}
