import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { after, test } from "node:test"
import { imageName, sha256 } from "#core/identifiers.ts"
import type { Home } from "#member/home.ts"
import { CaptureMemory } from "#nodes/capture-memory.ts"

const root = await mkdtemp(join(tmpdir(), "imagegrid-captures-"))
after(() => rm(root, { recursive: true, force: true }))
const home = { path: (...names: readonly string[]) => join(root, ...names) } as unknown as Home
const INDEX = sha256("ab".repeat(32))
const states = Array.from({ length: 300 }, (_, number) => ({
  device: 66_306n,
  inode: BigInt(number) + 2n ** 40n,
  changedNs: 1_700_000_000_123_456_789n + BigInt(number),
}))
const memoryOf = (name: string) => CaptureMemory.of(home, imageName(name))
const readingOf = async () => {
  const [directory] = await readdir(join(root, "captures"))
  return join(root, "captures", directory ?? "", "reading")
}

test("what was found is found again, for that directory, that index and that name", async () => {
  await memoryOf("os").saveStates("/srv/golden", INDEX, states)
  assert.deepEqual(await memoryOf("os").states("/srv/golden", INDEX), states)
  assert.equal(await memoryOf("os").states("/srv/other", INDEX), null)
  assert.equal(await memoryOf("os").states("/srv/golden", sha256("cd".repeat(32))), null)
  assert.equal(await memoryOf("web").states("/srv/golden", INDEX), null)
})

test("it is open to its owner alone", async () => {
  const path = await readingOf()
  assert.equal((await stat(path)).mode & 0o777, 0o600)
})

test("a damaged one is as good as none: cut anywhere, its header changed, its length out of step", async () => {
  const path = await readingOf()
  const whole = await readFile(path)
  const headerEnd = whole.indexOf(0x0a)
  const damaged = [
    Buffer.alloc(0),
    whole.subarray(0, headerEnd),
    whole.subarray(0, whole.length - 1),
    Buffer.concat([whole, Buffer.from("x")]),
    Buffer.concat([Buffer.from("{}\n"), whole.subarray(headerEnd + 1)]),
    Buffer.concat([Buffer.from('{"format":"imagegrid-reading-2"}\n'), whole.subarray(headerEnd + 1)]),
    Buffer.from("\0".repeat(5_000)),
  ]
  for (const bytes of damaged) {
    await writeFile(path, bytes)
    assert.equal(await memoryOf("os").states("/srv/golden", INDEX), null)
  }
  await writeFile(path, whole)
  assert.deepEqual(await memoryOf("os").states("/srv/golden", INDEX), states)
})

test("a remembered file whose bytes are not those of its digest is not handed out", async () => {
  const tree = join(root, "tree")
  await mkdir(tree, { recursive: true })
  const bytes = Buffer.alloc(4_096, "content")
  await writeFile(join(tree, "file"), bytes)
  const digest = sha256(createHash("sha256").update(bytes).digest("hex"))
  const entry = { kind: "file", path: Buffer.from("file"), size: bytes.length, zeroBlocks: 0, sha256: digest }
  const memory = memoryOf("os")
  await memory.rememberContents(tree, [entry as never], new AbortController().signal)
  const file = await memory.content(digest)
  assert.equal((await file?.readFile())?.equals(bytes), true)
  await file?.close()
  const kept = join(await readingOf(), "..", "contents", digest)
  await writeFile(kept, Buffer.alloc(4_096, "changed"))
  assert.equal(await memory.content(digest), null)
  await memory.rememberContents(tree, [], new AbortController().signal)
  await assert.rejects(stat(kept), { code: "ENOENT" })
})
