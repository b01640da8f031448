import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { test } from "node:test"
import { PieceDigests } from "#image/piece-digests.ts"
import { noise } from "./support.ts"

const KIB = 1024
const MIB = 1024 * KIB

/** The same 1 MiB again and again, but for a number in front of each. */
const pattern = noise(MIB, 3)
function megabyte(number: number): Buffer {
  pattern.writeUInt32BE(number)
  return pattern
}

async function* front(bytes: number): AsyncGenerator<Buffer> {
  for (let number = 0; number * MIB < bytes; number += 1) yield megabyte(number)
}

/** What a plain pass with this length gives. */
function plainly(megabytes: number, pieceBytes: number): Buffer {
  const digests: Buffer[] = []
  let hash = createHash("sha1")
  for (let number = 0; number < megabytes; number += 1)
    for (let at = 0; at < MIB; at += Math.min(pieceBytes, MIB)) {
      hash.update(megabyte(number).subarray(at, at + pieceBytes))
      if ((number * MIB + at + Math.min(pieceBytes, MIB)) % pieceBytes === 0) {
        digests.push(hash.digest())
        hash = createHash("sha1")
      }
    }
  return Buffer.concat(digests)
}

test("pieces of a small file have 64 KiB, of one over 256 MiB 512 KiB, and the digests are right either way", async () => {
  for (const [megabytes, pieceBytes, again] of [
    [3, 64 * KIB, 0],
    [255, 64 * KIB, 0],
    [260, 512 * KIB, 256 * MIB],
  ] as const) {
    const digests = new PieceDigests(null)
    for (let number = 0; number < megabytes; number += 1)
      for (let at = 0; at < MIB; at += 300_000) digests.update(megabyte(number).subarray(at, at + 300_000))
    let asked = 0
    const all = await digests.finish((bytes) => {
      asked = bytes
      return front(bytes)
    })
    assert.equal(digests.pieceBytes, pieceBytes)
    assert.equal(asked, again)
    assert.ok(all.equals(plainly(megabytes, pieceBytes)), `${megabytes} MiB`)
  }
})

test("a length that was asked for stays", async () => {
  const digests = new PieceDigests(16 * KIB)
  for (let number = 0; number < 3; number += 1) digests.update(megabyte(number))
  assert.ok((await digests.finish(front)).equals(plainly(3, 16 * KIB)))
})

test("the last piece may be shorter", async () => {
  const digests = new PieceDigests(null)
  const content = noise(100_000, 1)
  digests.update(content)
  const sha1 = (from: number, to: number) => createHash("sha1").update(content.subarray(from, to)).digest()
  assert.ok((await digests.finish(front)).equals(Buffer.concat([sha1(0, 65_536), sha1(65_536, 100_000)])))
})
