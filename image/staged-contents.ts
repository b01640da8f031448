/** Contents that delta layers bring, each a file named by its digest until a tree takes it. */
import { mkdir, open } from "node:fs/promises"
import { join } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { ContentDigest } from "./content-digest.ts"
import type { DeltaContent } from "./delta-layer.ts"
import { applyPatch, readPart } from "./patch.ts"
import type { ContentSource } from "./staged-tree.ts"
import { StreamReader } from "./stream-reader.ts"
import { partsBetween } from "./zero-runs.ts"

export class StagedContents {
  readonly #directory: string
  readonly #held = new Set<Sha256>()
  readonly #others: ContentSource

  private constructor(directory: string, others: ContentSource) {
    this.#directory = directory
    this.#others = others
  }

  /** @param others where contents are that no delta brings */
  static async open(directory: string, others: ContentSource): Promise<StagedContents> {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    return new StagedContents(directory, others)
  }

  /** Where a content is that came, or that is one of the others. */
  readonly at: ContentSource = (digest) => (this.#held.has(digest) ? Buffer.from(join(this.#directory, digest)) : this.#others(digest))

  /** Passes over a patch of what is not here. @throws {GridError} DIGEST_MISMATCH, SEALED_INVALID, DISK_FULL */
  async take(content: DeltaContent, bytes: AsyncIterable<Buffer>): Promise<void> {
    const { sha256, size, base, zeros } = content
    const basePath = base === null ? null : this.at(base.sha256)
    if (base !== null && basePath === null) {
      for await (const _ of bytes);
      return
    }
    const file = await open(join(this.#directory, sha256), "w", 0o600)
    try {
      const digest = new ContentDigest()
      if (base !== null && basePath !== null) {
        await using from = await open(basePath)
        const patches = new StreamReader(bytes)
        for (const [offset, length, storedBytes] of base.segments) {
          const patch: Buffer[] = []
          for await (const chunk of patches.bytes(storedBytes)) patch.push(chunk)
          const segment = await applyPatch(await readPart(from, offset, length), Buffer.concat(patch))
          digest.update(segment)
          await file.writeFile(segment)
        }
      } else {
        const parts = partsBetween(zeros, size)[Symbol.iterator]()
        let part = parts.next().value
        let [at, left] = [part?.offset ?? 0, part?.length ?? 0]
        digest.updateZeros(at)
        for await (const chunk of bytes)
          for (let from = 0; from < chunk.length;) {
            if (left === 0) {
              part = parts.next().value
              digest.updateZeros((part?.offset ?? size) - at)
              ;[at, left] = [part?.offset ?? size, part?.length ?? chunk.length - from]
            }
            const piece = chunk.subarray(from, from + left)
            digest.update(piece)
            for (let written = 0; written < piece.length;)
              written += (await file.write(piece, written, piece.length - written, at + written)).bytesWritten
            from += piece.length
            at += piece.length
            left -= piece.length
          }
        digest.updateZeros(size - at)
        await file.truncate(size)
      }
      const found = digest.digest()
      if (found !== sha256) throw new GridError("DIGEST_MISMATCH", `a delta layer holds ${found} under the name ${sha256}`)
      this.#held.add(sha256)
    } catch (error) {
      const code = systemErrorCode(error)
      if (code === "ENOSPC" || code === "EDQUOT")
        throw new GridError("DISK_FULL", `no room for the update in ${this.#directory}; nothing was changed: make room and repeat it`, {
          cause: error,
        })
      throw error
    } finally {
      await file.close()
    }
  }
}
