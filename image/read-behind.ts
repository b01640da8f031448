/**
 * Reads files back while their tree is still being made, so that little is left to verify when the last byte has come. What is read is no verdict: it counts
 * for an entry that is still as it was found then, which scan-tree.ts decides.
 */
import { lstatSync } from "node:fs"
import { PassThrough } from "node:stream"
import type { ByteString } from "./byte-string.ts"
import { captureTree } from "./capture.ts"
import type { Entry } from "./entry.ts"
import type { EntryState, Reading } from "./scan-tree.ts"
import { pathIn } from "./staged-tree.ts"

export class ReadBehind {
  readonly #directory: string
  readonly #paths = new PassThrough({ objectMode: true })
  readonly #entries: Entry[] = []
  readonly #states = new Map<ByteString, EntryState>()
  readonly #capture: Promise<unknown>

  constructor(directory: string, signal: AbortSignal) {
    this.#directory = directory
    // A file that is changed meanwhile fails the capture: then all is read in the end.
    this.#capture = captureTree({
      directory,
      paths: this.#paths as AsyncIterable<ByteString>,
      onEntry: (entry) => {
        if (entry.kind === "file") this.#entries.push(entry)
      },
      signal,
    }).catch(() => {})
  }

  /** To be called in the order of the tree, directories too. Files with further names are left to the end, when all names are there. */
  made({ path, kind }: Entry): void {
    if (kind !== "directory" && kind !== "file") return
    if (kind === "file") {
      const state = this.#stateOf(path)
      if (state === null) return
      this.#states.set(path, state)
    }
    this.#paths.write(path)
  }

  /** What was read until now, of all that was made. */
  async end(): Promise<Reading> {
    this.#paths.end()
    await this.#capture
    const known = this.#entries.flatMap((entry) => {
      const state = this.#states.get(entry.path)
      return state === undefined ? [] : [{ entry, state }]
    })
    return { entries: known.map(({ entry }) => entry), states: known.map(({ state }) => state) }
  }

  #stateOf(path: ByteString): EntryState | null {
    try {
      const { dev, ino, ctimeNs, nlink } = lstatSync(pathIn(this.#directory, path), { bigint: true })
      return nlink === 1n ? { device: dev, inode: ino, changedNs: ctimeNs } : null
    } catch {
      return null
    }
  }
}
