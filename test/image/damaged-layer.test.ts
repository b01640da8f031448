import assert from "node:assert/strict"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { constants, createZstdCompress, zstdCompressSync } from "node:zlib"
import { createHash } from "node:crypto"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { AgeSealer, newImageIdentity } from "#crypto/age.ts"
import { openLayer } from "#image/open-layer.ts"
import { sealImage, type SealedLayer } from "#image/seal-image.ts"
import { chunksOf, dice, noise, temporaryDirectory } from "./support.ts"

type Sealed = { identity: string; recipient: string; layer: SealedLayer; sealed: Buffer }

async function sealedTree(t: TestContext, fileBytes = 20_000): Promise<Sealed> {
  const work = await temporaryDirectory(t)
  await mkdir(join(work, "source"))
  for (let number = 0; number < 20; number += 1) await writeFile(join(work, "source", `file-${number}`), noise(fileBytes, number))
  const { identity, recipient } = await newImageIdentity()
  const { full } = await sealImage({ directory: join(work, "source"), workDirectory: work, recipient })
  return { identity, recipient, layer: full, sealed: await readFile(full.path) }
}

type Claims = Pick<SealedLayer, "sealedBytes" | "sealedSha256" | "contentBytes" | "contentSha256">

/** How many bytes came out, and the code of the refusal. */
async function outcome(sealed: Buffer, identity: string, layer: Claims): Promise<{ bytes: number; code: string }> {
  let bytes = 0
  try {
    for await (const chunk of openLayer(chunksOf(sealed, 50_000), { identity, layer })) bytes += chunk.length
  } catch (error) {
    if (error instanceof GridError) return { bytes, code: error.code }
    throw error
  }
  return { bytes, code: "none" }
}

const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex") as Sha256

async function seal(plain: Buffer, recipient: string): Promise<Buffer> {
  const sealer = await AgeSealer.create(recipient)
  return Buffer.concat([...sealer.update(plain), ...sealer.final()])
}

test("a layer that is whole opens to its content", async (t) => {
  const { identity, layer, sealed } = await sealedTree(t)
  assert.deepEqual(await outcome(sealed, identity, layer), { bytes: layer.contentBytes, code: "none" })
})

test("a layer cut short anywhere is refused", async (t) => {
  const { identity, layer, sealed } = await sealedTree(t)
  const random = dice(41)
  const cuts = [0, 1, 100, sealed.length - 1, sealed.length - 17, ...Array.from({ length: 30 }, () => Math.floor(random() * sealed.length))]
  for (const cut of cuts) {
    const { code } = await outcome(sealed.subarray(0, cut), identity, layer)
    assert.equal(code, "SEALED_INVALID", `cut at ${cut} of ${sealed.length}`)
    // Also when the manifest itself says that length: age knows its end.
    const short = sealed.subarray(0, cut)
    const agreed = await outcome(short, identity, { ...layer, sealedBytes: cut, sealedSha256: digest(short) })
    assert.equal(agreed.code, "SEALED_INVALID", `cut at ${cut} and said so`)
  }
})

test("a changed byte anywhere is refused, and nothing of its chunk comes out", async (t) => {
  const { identity, layer, sealed } = await sealedTree(t)
  const random = dice(43)
  for (const at of [
    0,
    30,
    150,
    190,
    210,
    220,
    sealed.length - 1,
    ...Array.from({ length: 40 }, () => Math.floor(random() * sealed.length)),
  ]) {
    const damaged = Buffer.from(sealed)
    damaged[at] = (damaged[at] ?? 0) ^ 0x20
    const { code, bytes } = await outcome(damaged, identity, layer)
    assert.equal(code, "SEALED_INVALID", `byte ${at} of ${sealed.length}`)
    assert.ok(bytes < layer.contentBytes)
  }
})

test("bytes behind the end are refused", async (t) => {
  const { identity, layer, sealed } = await sealedTree(t)
  const longer = Buffer.concat([sealed, Buffer.from("x")])
  assert.equal((await outcome(longer, identity, layer)).code, "SEALED_INVALID")
  const said = { ...layer, sealedBytes: longer.length, sealedSha256: digest(longer) }
  assert.equal((await outcome(longer, identity, said)).code, "SEALED_INVALID")
})

test("another file sealed to the same image is refused by its digest", async (t) => {
  const { identity, recipient, layer, sealed } = await sealedTree(t)
  const other = { ...layer, sealedSha256: digest(Buffer.from("other")) }
  assert.equal((await outcome(sealed, identity, other)).code, "DIGEST_MISMATCH")
  assert.equal((await outcome(sealed, identity, { ...layer, contentSha256: digest(Buffer.from("other")) })).code, "DIGEST_MISMATCH")
  assert.equal((await outcome(sealed, identity, { ...layer, contentBytes: layer.contentBytes + 1 })).code, "SEALED_INVALID")
  const forged = await seal(zstdCompressSync(Buffer.alloc(layer.contentBytes)), recipient)
  const claimed = { ...layer, sealedBytes: forged.length, sealedSha256: digest(forged) }
  assert.equal((await outcome(forged, identity, claimed)).code, "DIGEST_MISMATCH")
})

test("what is in the age file must be one whole zstd frame", async (t) => {
  const { identity, recipient, layer } = await sealedTree(t)
  const content = noise(300_000, 9)
  const frame = zstdCompressSync(content)
  const claims = (sealed: Buffer): Claims => ({
    sealedBytes: sealed.length,
    sealedSha256: digest(sealed),
    contentBytes: content.length,
    contentSha256: digest(content),
  })
  const cases: [string, Buffer, string][] = [
    ["a whole frame", frame, "none"],
    ["nothing", Buffer.alloc(0), "SEALED_INVALID"],
    ["no zstd", Buffer.from("plain text, much longer than a header of a frame"), "SEALED_INVALID"],
    ["a frame without its end", frame.subarray(0, -1), "SEALED_INVALID"],
    ["a frame cut in the middle", frame.subarray(0, 1000), "SEALED_INVALID"],
    ["garbage behind the frame", Buffer.concat([frame, Buffer.from("garbage")]), "SEALED_INVALID"],
  ]
  for (const [what, plain, code] of cases) {
    const sealed = await seal(plain, recipient)
    assert.equal((await outcome(sealed, identity, claims(sealed))).code, code, what)
  }
  assert.ok(layer.contentBytes > 0)
})

test("a small file that decompresses without end is stopped at the bytes that the manifest names", async () => {
  const { identity, recipient } = await newImageIdentity()
  const compressor = createZstdCompress({ chunkSize: 1024 * 1024 })
  const parts: Buffer[] = []
  compressor.on("data", (part: Buffer) => parts.push(part))
  const zeros = Buffer.alloc(16 * 1024 * 1024)
  for (let count = 0; count < 64; count += 1) await new Promise<void>((resolve) => compressor.write(zeros, () => resolve()))
  await new Promise<void>((resolve) => compressor.once("end", resolve).end())
  const sealed = await seal(Buffer.concat(parts), recipient)
  assert.ok(sealed.length < 200_000, "a gigabyte of zeros is small")
  const claims = { sealedBytes: sealed.length, sealedSha256: digest(sealed), contentBytes: 100_000, contentSha256: digest(zeros) }
  const before = process.memoryUsage.rss()
  const { bytes, code } = await outcome(sealed, identity, claims)
  assert.equal(code, "SEALED_INVALID")
  assert.ok(bytes <= claims.contentBytes, `${bytes} bytes came out`)
  assert.ok(process.memoryUsage.rss() - before < 64 * 1024 * 1024)
})

test("a frame that asks for a huge window of memory is refused", async () => {
  const { identity, recipient } = await newImageIdentity()
  const content = noise(200_000, 1)
  const frame = zstdCompressSync(content, { params: { [constants.ZSTD_c_windowLog]: 27, [constants.ZSTD_c_contentSizeFlag]: 0 } })
  // RFC 8878, 3.1.1.1.2: the byte after magic and descriptor has the window's exponent, minus 10, in its upper five bits.
  const header = Buffer.from(frame)
  assert.equal((header[4] ?? 0) & 0b0010_0000, 0, "not a single segment: it has a window descriptor")
  header[5] = (31 - 10) << 3
  const sealed = await seal(header, recipient)
  const claims = { sealedBytes: sealed.length, sealedSha256: digest(sealed), contentBytes: content.length, contentSha256: digest(content) }
  assert.deepEqual(await outcome(sealed, identity, claims), { bytes: 0, code: "SEALED_INVALID" })
})

test("a reader that stops early closes the source, even one that stays silent", async (t) => {
  const { identity, layer, sealed } = await sealedTree(t, 1_000_000)
  for (const silentFrom of [4_000_000, sealed.length]) {
    const { promise: closed, resolve } = Promise.withResolvers<string>()
    let at = 0
    const source: AsyncIterableIterator<Buffer> = {
      [Symbol.asyncIterator]: () => source,
      next() {
        if (at >= silentFrom) return new Promise<never>(() => {})
        at += 100_000
        return Promise.resolve({ done: false, value: sealed.subarray(at - 100_000, at) })
      },
      return() {
        resolve("closed")
        return Promise.resolve({ done: true, value: undefined })
      },
    }
    for await (const chunk of openLayer(source, { identity, layer })) {
      assert.ok(chunk.length > 0)
      break
    }
    assert.equal(await closed, "closed")
    assert.ok(at < sealed.length, "the source was not read to its end")
  }
})

test("a source that fails passes its own error on", async (t) => {
  const { identity, layer, sealed } = await sealedTree(t)
  const failure = new Error("the disk went away")
  async function* source(): AsyncGenerator<Buffer> {
    yield sealed.subarray(0, 100_000)
    throw failure
  }
  await assert.rejects(
    async () => {
      for await (const chunk of openLayer(source(), { identity, layer })) assert.ok(chunk)
    },
    (error) => error === failure,
  )
})
