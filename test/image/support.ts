/** What the tests of this room share: directories that go away, a tree with every kind of entry, tools that may be missing. */
import { execFileSync, spawnSync } from "node:child_process"
import { createReadStream } from "node:fs"
import { chmod, chown, link, lutimes, mkdir, mkdtemp, open, rm, symlink, truncate, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestContext } from "node:test"
import type { SealedLayer } from "#image/seal-image.ts"
import { openLayer } from "#image/open-layer.ts"
import { decodeIndex, type TreeIndex } from "#image/tree-index.ts"

export const isRoot = process.geteuid?.() === 0

export async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "imagegrid-image-"))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** Null when the tool is there, otherwise the reason to skip. */
export function missingTool(...tools: string[]): string | false {
  const missing = tools.filter((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
  return missing.length === 0 ? false : `${missing.join(", ")} not installed`
}

export function run(tool: string, ...args: string[]): string {
  return execFileSync(tool, args, { encoding: "latin1", stdio: ["ignore", "pipe", "pipe"] })
}

/** Deterministic bytes (xorshift32). */
export function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed | 1
  for (let at = 0; at < length; at += 1) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
}

/** Deterministic numbers in [0, 1). */
export function dice(seed: number): () => number {
  let state = seed | 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

export function bytePath(directory: string, name: Buffer | string): Buffer {
  return Buffer.concat([Buffer.from(`${directory}/`), typeof name === "string" ? Buffer.from(name) : name])
}

/** A small tree with every kind of entry that this user may make; devices, owners and capabilities only as root. */
export async function makeEveryKind(top: string): Promise<void> {
  await mkdir(join(top, "etc/empty"), { recursive: true })
  await writeFile(join(top, "etc/hosts"), "127.0.0.1 localhost\n")
  await writeFile(join(top, "etc/nothing"), "")
  await writeFile(join(top, "etc/secret"), "s", { mode: 0o600 })
  await link(join(top, "etc/hosts"), join(top, "etc/hosts.link"))
  await symlink("hosts", join(top, "etc/symlink"))
  await symlink("/nowhere/at all", join(top, "etc/dangling"))
  await link(join(top, "etc/symlink"), join(top, "etc/symlink.link"))
  await writeFile(join(top, "big"), noise(3_000_000, 7))
  await writeFile(bytePath(top, Buffer.from("caf\xe9\xff", "latin1")), "not UTF-8")
  await writeFile(bytePath(top, 'line\nbreak and \\ and %41 and "quote"'), "odd")
  await writeFile(bytePath(top, "n".repeat(255)), "long")
  await writeFile(bytePath(top, Buffer.alloc(255, 0xfe)), "long and not UTF-8")
  const deep = join(top, "d".repeat(200), "e".repeat(200), "f".repeat(200))
  await mkdir(deep, { recursive: true })
  await symlink("g".repeat(300), join(deep, "long-target"))
  await writeFile(join(deep, "leaf"), "leaf")
  await makeHoled(join(top, "holes"))
  run("mkfifo", "-m", "640", join(top, "fifo"))
  await chmod(join(top, "etc/hosts"), 0o4755)
  await chmod(join(top, "etc/empty"), 0o1777)
  // Node's own utimes takes no time before 1970.
  run("touch", "-d", "1969-12-31 23:59:58.5Z", join(top, "etc/nothing"))
  await lutimes(join(top, "etc/dangling"), 1, 1_000_000_000.25)
  if (!isRoot) return
  run("mknod", "-m", "666", join(top, "null"), "c", "1", "3")
  run("mknod", join(top, "disk"), "b", "259", "1048575")
  await writeFile(join(top, "owned"), "owned")
  await chown(join(top, "owned"), 3_000_000, 4_000_000)
  await writeFile(join(top, "capable"), "capable", { mode: 0o755 })
}

/** 8 MiB with 3 bytes in it, and a hole at the end. */
async function makeHoled(path: string): Promise<void> {
  const file = await open(path, "w")
  await file.write("x", 2_500_000)
  await file.write("yz", 5_000_000)
  await file.close()
  await truncate(path, 8 * 1024 * 1024)
}

/** Extended attributes, set in an order that no file system sorts; false when this file system has none. */
export function addXattrs(top: string): boolean {
  const file = join(top, "etc/hosts")
  for (const [name, value] of [
    ["user.zeta", "0x00ff0a3d"],
    ["user.alpha", "plain"],
    ["user.a=b%c", "odd name"],
  ] as const)
    if (spawnSync("setfattr", ["-n", name, "-v", value, file]).status !== 0) return false
  if (isRoot) {
    spawnSync("setfacl", ["-m", "u:12345:r", file])
    spawnSync("setcap", ["cap_net_raw+ep", join(top, "capable")])
  }
  return true
}

/** All content of a sealed layer, checked. */
export async function contentOf(layer: SealedLayer, identity: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of openLayer(createReadStream(layer.path), { identity, layer })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export async function indexOf(layer: SealedLayer, identity: string): Promise<TreeIndex> {
  return decodeIndex(await contentOf(layer, identity))
}

export async function* chunksOf(bytes: Buffer, chunkBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}
