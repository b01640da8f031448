import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test } from "node:test"
import type { Sha256 } from "#core/identifiers.ts"
import { GridError } from "#core/errors.ts"
import type { ByteString } from "#image/byte-string.ts"
import { ContentDigest } from "#image/content-digest.ts"
import { contentLine, deltaBeginning, deltaEnd, readDelta, type DeltaContent } from "#image/delta-layer.ts"
import type { Entry } from "#image/entry.ts"
import { applyEdits, editsBetween } from "#image/index-edits.ts"
import { basePart, makePatch, SEGMENT_BYTES } from "#image/patch.ts"
import { StagedContents } from "#image/staged-contents.ts"
import { decodeIndex, encodeIndex } from "#image/tree-index.ts"
import { chunksOf, dice, noise } from "./support.ts"

function digestOf(bytes: Uint8Array): Sha256 {
  const digest = new ContentDigest()
  digest.update(bytes)
  return digest.digest()
}

const common = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 1n, xattrs: [] } as const
const directory = (path: string): Entry => ({ ...common, path: path as ByteString, kind: "directory", mode: 0o755 })
const file = (path: string, content: Uint8Array): Entry => ({
  ...common,
  path: path as ByteString,
  kind: "file",
  size: content.length,
  sha256: digestOf(content),
  zeroBlocks: 0,
})
const indexOf = (entries: readonly Entry[]) => decodeIndex(encodeIndex(entries))

const [old, fresh, patched] = [noise(5_000, 1), noise(3_000, 2), Buffer.concat([noise(4_000, 1), noise(900, 3)])]
const before = indexOf([directory("."), directory("d"), file("d/old", old), file("gone", old)])
const after = indexOf([directory("."), directory("d"), file("d/new", fresh), file("d/old", patched)])
const header = {
  parent: createHash("sha256").update(encodeIndex(before.entries())).digest("hex") as Sha256,
  index: createHash("sha256").update(encodeIndex(after.entries())).digest("hex") as Sha256,
}

/** A delta from `before` to `after`, by hand. */
async function wholeDelta(): Promise<{ readonly bytes: Buffer; readonly patchAt: number }> {
  const { offset, length } = basePart(0, patched.length, old.length)
  const patch = await makePatch(old.subarray(offset, offset + length), patched)
  const plain: DeltaContent = { sha256: digestOf(fresh), size: fresh.length, stored: fresh.length, base: null, zeros: [] }
  const base = { sha256: digestOf(old), segments: [[offset, length, patch.length]] as const }
  const byPatch: DeltaContent = { sha256: digestOf(patched), size: patched.length, stored: patch.length, base, zeros: [] }
  const head = Buffer.concat([
    Buffer.from([...deltaBeginning(header, editsBetween(before.entries(), after.entries()))].join(""), "latin1"),
    Buffer.from(contentLine(plain)),
    fresh,
    Buffer.from(contentLine(byPatch)),
  ])
  return { bytes: Buffer.concat([head, patch, Buffer.from(deltaEnd(2))]), patchAt: head.length }
}

/** What a client makes of it: the contents by their digests, or the code of the refusal. */
async function outcome(bytes: Buffer, chunkBytes = 700): Promise<Map<string, Buffer> | string> {
  const work = await mkdtemp(join(tmpdir(), "imagegrid-delta-"))
  const oldPath = join(work, "old")
  try {
    await writeFile(oldPath, old)
    const staged = await StagedContents.open(join(work, "contents"), (digest) => (digest === digestOf(old) ? Buffer.from(oldPath) : null))
    const taken: DeltaContent[] = []
    await readDelta(chunksOf(bytes, chunkBytes), {
      async begin(found, edits) {
        assert.deepEqual(found, header)
        if (applyEdits(before, edits).compare(encodeIndex(after.entries())) !== 0) throw new GridError("INDEX_INVALID", "another index")
      },
      async content(content, stored) {
        taken.push(content)
        await staged.take(content, stored)
      },
    })
    const contents = new Map<string, Buffer>()
    for (const { sha256 } of taken) {
      const path = staged.at(sha256)
      // A patch of what is not here is passed over.
      if (path === null) return "MISSING"
      contents.set(sha256, await readFile(path))
    }
    return contents
  } catch (error) {
    if (error instanceof GridError) return error.code
    throw error
  } finally {
    await rm(work, { recursive: true })
  }
}

test("a delta brings new contents whole and changed ones by patches, in whatever chunks it comes", async () => {
  const { bytes } = await wholeDelta()
  for (const chunkBytes of [1, 13, 700, bytes.length]) {
    const contents = await outcome(bytes, chunkBytes)
    assert.ok(contents instanceof Map, "refused")
    assert.deepEqual([...contents.values()], [fresh, patched])
  }
})

test("a delta that ends anywhere before its end, or goes on after it, is refused", async () => {
  const { bytes } = await wholeDelta()
  const random = dice(7)
  const cuts = [0, 1, bytes.length - 1, bytes.length - 2, ...Array.from({ length: 60 }, () => Math.floor(random() * bytes.length))]
  for (const cut of cuts) assert.equal(await outcome(bytes.subarray(0, cut)), "SEALED_INVALID", `cut at ${cut} of ${bytes.length}`)
  assert.equal(await outcome(Buffer.concat([bytes, Buffer.from("\n")])), "SEALED_INVALID")
})

test("a changed byte anywhere is refused or brings the same contents", async () => {
  const { bytes, patchAt } = await wholeDelta()
  const random = dice(11)
  const places = [patchAt, patchAt + 5, ...Array.from({ length: 150 }, () => Math.floor(random() * bytes.length))]
  let refused = 0
  for (const at of places) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ (1 << Math.floor(random() * 8))
    const contents = await outcome(changed).catch((error: unknown) => {
      // The header's own digests are the test's to compare.
      assert.equal((error as { code?: string }).code, "ERR_ASSERTION", String(error))
      return "REFUSED"
    })
    if (contents instanceof Map) assert.deepEqual([...contents.values()], [fresh, patched], `byte ${at}`)
    else refused += 1
  }
  assert.ok(refused > places.length * 0.95, `${refused} of ${places.length}`)
})

test("claims that are out of bounds are refused before anything is made of them", async () => {
  const beginning = [...deltaBeginning(header, editsBetween(before.entries(), after.entries()))].join("")
  const [plain, other] = [digestOf(fresh), digestOf(old)]
  const claims: Record<string, object> = {
    "stored is not size": { sha256: plain, size: 3_000, stored: 2_999 },
    "more than any file": { sha256: plain, size: 2 ** 60, stored: 2 ** 60 },
    "a negative length": { sha256: plain, size: -1, stored: -1 },
    "zeros beyond the end": { sha256: plain, size: 3_000, stored: 3_000, zeros: [[0, 2 ** 40]] },
    "zeros out of order": {
      sha256: plain,
      size: 3_000,
      stored: 3_000,
      zeros: [
        [4, 1],
        [2, 1],
      ],
    },
    "a run of no zeros": { sha256: plain, size: 3_000, stored: 3_000, zeros: [[0, 0]] },
    "segments of nothing": { sha256: plain, size: 3_000, stored: 10, segments: [[0, 10, 10]] },
    "a patch without segments": { sha256: plain, size: 3_000, stored: 10, base: other },
    "too many segments": {
      sha256: plain,
      size: 3_000,
      stored: 20,
      base: other,
      segments: [
        [0, 10, 10],
        [0, 10, 10],
      ],
    },
    "a segment of too much": { sha256: plain, size: 3_000, stored: 2 ** 40, base: other, segments: [[0, 10, 2 ** 40]] },
    "a base of too much": { sha256: plain, size: 3_000, stored: 10, base: other, segments: [[0, 2 ** 40, 10]] },
    "an unknown field": { sha256: plain, size: 3_000, stored: 3_000, path: "/etc/passwd" },
    "no digest": { sha256: "../../etc/passwd", size: 3_000, stored: 3_000 },
  }
  for (const [name, claim] of Object.entries(claims)) {
    const bytes = Buffer.concat([Buffer.from(`${beginning}${JSON.stringify(claim)}\n`, "latin1"), fresh, Buffer.from(deltaEnd(1))])
    assert.equal(await outcome(bytes), "SEALED_INVALID", name)
  }
  const bomb = Buffer.concat([Buffer.from(beginning.slice(0, 40), "latin1"), Buffer.alloc(33 * 1024 * 1024, 0x20)])
  assert.equal(await outcome(bomb, 1024 * 1024), "SEALED_INVALID", "a line without end")
})

test("a patch that makes something else of its base, or more than it may, is refused", async () => {
  const beginning = [...deltaBeginning(header, editsBetween(before.entries(), after.entries()))].join("")
  const attempt = async (patch: Buffer, size: number, sha256: Sha256) => {
    const claim = { sha256, size, stored: patch.length, base: digestOf(old), segments: [[0, old.length, patch.length]] }
    return outcome(Buffer.concat([Buffer.from(`${beginning}${JSON.stringify(claim)}\n`, "latin1"), patch, Buffer.from(deltaEnd(1))]))
  }
  const good = await makePatch(old, patched)
  assert.ok((await attempt(good, patched.length, digestOf(patched))) instanceof Map)
  assert.equal(await attempt(await makePatch(old, fresh), patched.length, digestOf(patched)), "DIGEST_MISMATCH")
  // Of another base than it says.
  assert.notEqual(typeof (await attempt(await makePatch(fresh, patched), patched.length, digestOf(patched))), "object")
  assert.equal(await attempt(noise(200, 9), patched.length, digestOf(patched)), "SEALED_INVALID")
  // A frame that swells beyond a segment.
  const swollen = await makePatch(old, Buffer.alloc(2 * SEGMENT_BYTES))
  assert.ok(swollen.length < 100_000)
  assert.equal(await attempt(swollen, SEGMENT_BYTES, digestOf(Buffer.alloc(SEGMENT_BYTES))), "SEALED_INVALID")
})
