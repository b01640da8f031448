/** Torrents and directories for tests of stores. */
import { createHash } from "node:crypto"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestContext } from "node:test"
import { makeTorrent, type Torrent } from "#core/torrent.ts"

/** The same bytes for the same seed, in any process. */
export function contentOf(seed: string, contentBytes: number): Buffer {
  const blocks: Buffer[] = []
  for (let block = 0; block * 32 < contentBytes; block++) blocks.push(createHash("sha256").update(`${seed} ${block}`).digest())
  return Buffer.concat(blocks).subarray(0, contentBytes)
}

export function torrentOf(content: Buffer, pieceBytes: number): Torrent {
  const digests: Buffer[] = []
  for (let offset = 0; offset < content.length; offset += pieceBytes)
    digests.push(
      createHash("sha1")
        .update(content.subarray(offset, offset + pieceBytes))
        .digest(),
    )
  return makeTorrent({ name: "layer.age", contentBytes: content.length, pieceBytes, pieceDigests: Buffer.concat(digests) })
}

export function pieceOf(content: Buffer, torrent: Torrent, piece: number): Buffer {
  return content.subarray(piece * torrent.pieceBytes, Math.min(content.length, (piece + 1) * torrent.pieceBytes))
}

export function temporaryDirectory(context: TestContext, parent: string = tmpdir()): string {
  const directory = mkdtempSync(join(parent, "imagegrid-store-"))
  context.after(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Numbers from 0 to `below`, the same for the same seed (mulberry32). */
export function seededNumbers(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
