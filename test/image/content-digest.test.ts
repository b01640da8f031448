import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { test } from "node:test"
import { ContentDigest, ZERO_BLOCK_BYTES as BLOCK } from "#image/content-digest.ts"
import { dice, noise } from "./support.ts"

const sha256 = (...parts: (Buffer | string)[]) => {
  const hash = createHash("sha256")
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** The definition in the module's header, in the plainest way. */
function reference(content: Buffer): string {
  const kept: Buffer[] = []
  const zeroAt: number[] = []
  for (let at = 0; at < content.length; at += BLOCK) {
    const block = content.subarray(at, at + BLOCK)
    if (block.length === BLOCK && block.equals(Buffer.alloc(BLOCK))) zeroAt.push(at / BLOCK)
    else kept.push(block)
  }
  if (zeroAt.length === 0) return sha256(content).toString("hex")
  const lines: string[] = []
  for (let first = 0; first < zeroAt.length;) {
    let count = 1
    while (zeroAt[first + count] === (zeroAt[first] ?? 0) + count) count += 1
    lines.push(`${zeroAt[first]} ${count}\n`)
    first += count
  }
  return sha256(`imagegrid-zero-blocks-1\n${content.length}\n`, sha256(...kept), sha256(...lines)).toString("hex")
}

/** Feeds runs of noise and zeros in random pieces; zeros sometimes as a hole, sometimes as bytes. */
function digestOf(
  runs: readonly { zero: boolean; length: number }[],
  random: () => number,
): { digest: string; content: Buffer; zeroBlocks: number } {
  const digest = new ContentDigest()
  const parts: Buffer[] = []
  for (const [number, { zero, length }] of runs.entries()) {
    const bytes = zero ? Buffer.alloc(length) : noise(length, number + 1)
    parts.push(bytes)
    for (let at = 0; at < length;) {
      const step = Math.min(length - at, 1 + Math.floor(random() * 700_000))
      if (zero && random() < 0.5) digest.updateZeros(step)
      else digest.update(bytes.subarray(at, at + step))
      at += step
    }
  }
  return { digest: digest.digest(), content: Buffer.concat(parts), zeroBlocks: digest.zeroBlocks }
}

test("the digest is the one defined, however the content comes and whether zeros are a hole or bytes", () => {
  const random = dice(20_261_122)
  for (let round = 0; round < 25; round += 1) {
    const runs = Array.from({ length: 1 + Math.floor(random() * 4) }, () => ({
      zero: random() < 0.6,
      length: random() < 0.4 ? BLOCK * Math.floor(random() * 3) : Math.floor(random() * 2.2 * BLOCK),
    }))
    const { digest, content } = digestOf(runs, random)
    assert.equal(digest, reference(content), JSON.stringify({ round, runs }))
  }
})

test("a content without a whole block of zeros has its plain SHA-256", () => {
  const random = dice(7)
  for (const length of [0, 1, BLOCK - 1]) {
    const { digest, content, zeroBlocks } = digestOf([{ zero: true, length }], random)
    assert.equal(digest, sha256(content).toString("hex"))
    assert.equal(zeroBlocks, 0)
  }
  // A megabyte of zeros that is not at a multiple of a megabyte.
  const { digest, content } = digestOf(
    [
      { zero: false, length: 10 },
      { zero: true, length: 2 * BLOCK - 11 },
      { zero: false, length: 5 },
    ],
    random,
  )
  assert.equal(digest, sha256(content).toString("hex"))
})

test("what differs in size, place or number of zero blocks has another digest", () => {
  const random = dice(9)
  const digests = [
    [{ zero: true, length: BLOCK }],
    [{ zero: true, length: 2 * BLOCK }],
    [{ zero: true, length: BLOCK + 1 }],
    [
      { zero: true, length: BLOCK },
      { zero: false, length: BLOCK },
    ],
    [
      { zero: false, length: BLOCK },
      { zero: true, length: BLOCK },
    ],
    [{ zero: false, length: BLOCK }],
    [{ zero: true, length: 0 }],
  ].map((runs) => digestOf(runs, random).digest)
  assert.equal(new Set(digests).size, digests.length)
})

test("a hole of nine petabytes costs nothing", () => {
  const digest = new ContentDigest()
  digest.updateZeros(Number.MAX_SAFE_INTEGER)
  assert.match(digest.digest(), /^[0-9a-f]{64}$/)
  assert.equal(digest.zeroBlocks, Math.floor(Number.MAX_SAFE_INTEGER / BLOCK))
})
