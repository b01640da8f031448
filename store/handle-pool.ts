/**
 * Open files shared among many stores: a thousand layers must not hold a thousand descriptors. A file is open while somebody uses it;
 * beyond `idleMax`, those unused for longest are closed.
 */
import { open, type FileHandle } from "node:fs/promises"

/** One user's hold on an open file; `release` it once. */
export type Lease = { readonly file: FileHandle; release(): void }

type Entry = { readonly opening: Promise<FileHandle>; users: number }

export class HandlePool {
  readonly #idleMax: number
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>()
  readonly #closing = new Set<Promise<void>>()

  constructor(options: { readonly idleMax: number }) {
    this.#idleMax = options.idleMax
  }

  /** Gives the open file of this path, with `flags` if it has to be opened. System errors come through as they are. */
  async lease(path: string, flags: number, mode: number): Promise<Lease> {
    const entry = this.#entries.get(path) ?? { opening: open(path, flags, mode), users: 0 }
    this.#entries.delete(path)
    this.#entries.set(path, entry)
    entry.users += 1
    this.#trim()
    try {
      const file = await entry.opening
      return { file, release: () => this.#release(entry) }
    } catch (error) {
      entry.users -= 1
      if (this.#entries.get(path) === entry) this.#entries.delete(path)
      throw error
    }
  }

  /** Closes this path's file if nobody uses it; resolves when every close that was begun has ended. */
  async drop(path: string): Promise<void> {
    const entry = this.#entries.get(path)
    if (entry !== undefined && entry.users === 0) this.#close(path, entry)
    await Promise.all(this.#closing)
  }

  #release(entry: Entry): void {
    entry.users -= 1
    this.#trim()
  }

  #trim(): void {
    let surplus = this.#entries.size - this.#idleMax
    if (surplus <= 0) return
    for (const [path, entry] of this.#entries) {
      if (surplus <= 0) return
      if (entry.users > 0) continue
      this.#close(path, entry)
      surplus -= 1
    }
  }

  #close(path: string, entry: Entry): void {
    this.#entries.delete(path)
    const closing = entry.opening.then((file) => file.close()).finally(() => this.#closing.delete(closing))
    this.#closing.add(closing)
    closing.catch(() => {})
  }
}
