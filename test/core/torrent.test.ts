import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { test } from "node:test"
import fc from "fast-check"
import { makeTorrent, parseTorrent, pieceBytesAt, pieceBytesFor } from "../../core/torrent.ts"
import { GridError } from "../../core/errors.ts"

const digests = (count: number) => Buffer.alloc(20 * count, 7)

test("a torrent comes back from its info dictionary as it was made, and its infohash is that dictionary's SHA-1", () => {
  const torrent = makeTorrent({ name: "layer", contentBytes: 100_000, pieceBytes: 65_536, pieceDigests: digests(2) })
  assert.deepEqual(parseTorrent(torrent.infoBytes), torrent)
  assert.equal(torrent.infohash, createHash("sha1").update(torrent.infoBytes).digest("hex"))
  assert.equal(torrent.pieceCount, 2)
  assert.deepEqual([pieceBytesAt(torrent, 0), pieceBytesAt(torrent, 1)], [65_536, 34_464])
})

test("an info dictionary out of form is refused for what is wrong with it", () => {
  const bad: [string, RegExp][] = [
    ["", /not bencoded/],
    ["i1e", /not one bencoded dictionary/],
    ["de", /no length/],
    ["d6:lengthi-5e4:name1:x12:piece lengthi65536e6:pieces0:e", /no length/],
    ["d6:lengthi5e4:name1:x12:piece lengthi65537e6:pieces20:aaaaaaaaaaaaaaaaaaaae", /power of two/],
    ["d6:lengthi5e4:name1:x12:piece lengthi8192e6:pieces20:aaaaaaaaaaaaaaaaaaaae", /power of two/],
    ["d6:lengthi5e4:name1:x12:piece lengthi65536e6:pieces21:aaaaaaaaaaaaaaaaaaaaae", /not 1 piece digests/],
    ["d6:lengthi5e12:piece lengthi65536e6:pieces20:aaaaaaaaaaaaaaaaaaaae", /no name/],
    ["d6:lengthi5e4:name-1:x12:piece lengthi65536e6:pieces20:aaaaaaaaaaaaaaaaaaaae", /not bencoded/],
    ["d6:lengthi5e4:name1:x12:piece lengthi65536e6:pieces20:aaaaaaaaaaaaaaaaaaaaee", /not one bencoded dictionary/],
  ]
  for (const [text, words] of bad) assert.throws(() => parseTorrent(Buffer.from(text)), { code: "TORRENT_INVALID", message: words }, text)
})

test("any bytes give a torrent or a refusal, and end", () => {
  const seedBytes = makeTorrent({ name: "layer", contentBytes: 10, pieceBytes: 65_536, pieceDigests: digests(1) }).infoBytes
  const mutation = fc.array(fc.tuple(fc.nat(seedBytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(mutation, (changes) => {
      const bytes = Buffer.from(seedBytes)
      for (const [at, byte] of changes) bytes[at] = byte
      try {
        parseTorrent(bytes)
      } catch (error) {
        assert.ok(error instanceof GridError && error.code === "TORRENT_INVALID", String(error))
      }
    }),
    { numRuns: 2_000 },
  )
})

test("pieces grow with the content, from 32 KiB to 4 MiB", () => {
  assert.equal(pieceBytesFor(1), 32 * 1024)
  assert.equal(pieceBytesFor(64 * 1024 * 1024), 64 * 1024)
  assert.equal(pieceBytesFor(1_000_000_000), 256 * 1024)
  assert.equal(pieceBytesFor(1e12), 4 * 1024 * 1024)
})
