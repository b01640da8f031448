/** Directory trees to publish in tests. */
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** Bytes that do not compress and depend on the seed alone. */
export function noise(byteCount: number, seed: string): Buffer {
  const parts: Buffer[] = []
  for (let made = 0, index = 0; made < byteCount; index++) {
    const part = createHash("sha512").update(`${seed}/${index}`).digest()
    parts.push(part)
    made += part.length
  }
  return Buffer.concat(parts).subarray(0, byteCount)
}

/** A small tree of plain files, links and odd names, with `noiseBytes` that make it that large to download. */
export function makeTree(directory: string, noiseBytes: number, seed = "tree"): void {
  mkdirSync(join(directory, "etc", "deep"), { recursive: true })
  mkdirSync(join(directory, "empty"))
  writeFileSync(join(directory, "etc", "hostname"), "node\n")
  writeFileSync(join(directory, "etc", "deep", "ümlaut and space"), "odd name\n", { mode: 0o640 })
  writeFileSync(join(directory, "noise"), noise(noiseBytes, seed))
  linkSync(join(directory, "etc", "hostname"), join(directory, "etc", "hostname-too"))
  symlinkSync("etc/hostname", join(directory, "link"))
  execFileSync("mkfifo", [join(directory, "pipe")])
}
