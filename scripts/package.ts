/** `npm run package`: makes `dist/`: an npm package, a Debian package and their digests. */
import { createHash } from "node:crypto"
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { bundleProgram } from "./packaging/bundle.ts"
import { makeDebianPackage, makeNpmPackage, versionOf } from "./packaging/packages.ts"

const root = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "")
const out = join(root, "dist")
const work = await mkdtemp(join(tmpdir(), "imagegrid-package-"))
try {
  await rm(out, { recursive: true, force: true })
  await mkdir(out)
  const bundle = join(work, "bundle")
  const { fileCount, bytes, packages } = await bundleProgram(root, bundle)
  console.log(`bundled: ${fileCount} files, ${(bytes / 1e6).toFixed(1)} MB, with ${packages.length} packages in it`)
  const parts = { root, bundle, version: await versionOf(root), out, work }
  const made = [await makeNpmPackage(parts), await makeDebianPackage(parts, process.execPath)]
  const lines: string[] = []
  for (const path of made) {
    const contents = await readFile(path)
    console.log(`${basename(path)}: ${(contents.length / 1e6).toFixed(1)} MB`)
    lines.push(`${createHash("sha256").update(contents).digest("hex")}  ${basename(path)}\n`)
  }
  await writeFile(join(out, "SHA256SUMS"), lines.join(""))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  await rm(work, { recursive: true, force: true })
}
