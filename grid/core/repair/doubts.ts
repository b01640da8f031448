/**
 * Whose word is not believed, for which image. An image's copy at a server is doubted from a failed audit of it until a passed one. That others doubt a server is
 * a reason to audit it: each of its images once, by those who would have to take it.
 */
import type { MemberId } from "#core/identifiers.ts"
import type { ImageId } from "../repair-events.ts"

export class Doubts {
  readonly #failed = new Map<MemberId, Set<ImageId>>()
  /** When each image passed since the server came to be doubted. */
  readonly #passed = new Map<MemberId, Map<ImageId, number>>()
  readonly #told = new Map<MemberId, ReadonlySet<MemberId>>()
  #suspected: ReadonlyMap<MemberId, number> = new Map()

  /** No audit failed here that has not been passed since. */
  get isEmpty(): boolean {
    return this.#failed.size === 0
  }

  /** Servers that failed an audit here and have not passed it since. */
  get own(): readonly MemberId[] {
    return [...this.#failed.keys()].sort()
  }

  /** Servers that anyone doubts, and since when. */
  get suspected(): ReadonlyMap<MemberId, number> {
    return this.#suspected
  }

  isDoubted(server: MemberId, image: ImageId): boolean {
    return this.#failed.get(server)?.has(image) ?? false
  }

  /** Whether the image is to be audited at a server that is suspected: it did not pass since `sinceMs`. */
  isOpen(server: MemberId, image: ImageId, sinceMs: number): boolean {
    if (!this.#suspected.has(server) || this.isDoubted(server, image)) return false
    return (this.#passed.get(server)?.get(image) ?? -Infinity) < sinceMs
  }

  fail(server: MemberId, image: ImageId, nowMs: number): void {
    this.#passed.get(server)?.delete(image)
    const failed = this.#failed.get(server) ?? new Set()
    this.#failed.set(server, failed.add(image))
    this.#sum(nowMs)
  }

  /** Returns whether it was doubted before. */
  pass(server: MemberId, image: ImageId, nowMs: number): boolean {
    const failed = this.#failed.get(server)
    const wasDoubted = failed?.delete(image) ?? false
    if (failed?.size === 0) this.#failed.delete(server)
    this.#sum()
    if (!this.#suspected.has(server)) return wasDoubted
    this.#passed.set(server, (this.#passed.get(server) ?? new Map<ImageId, number>()).set(image, nowMs))
    return wasDoubted
  }

  /** Images doubted at this server. */
  of(server: MemberId): readonly ImageId[] {
    return [...(this.#failed.get(server) ?? [])]
  }

  /** What a fellow says. Returns the servers that are suspected since. */
  hear(from: MemberId, doubts: readonly MemberId[], nowMs: number): readonly MemberId[] {
    const before = this.#suspected
    if (doubts.length === 0) this.#told.delete(from)
    else this.#told.set(from, new Set(doubts))
    this.#sum(nowMs)
    return [...this.#suspected.keys()].filter((server) => !before.has(server))
  }

  forgetImage(image: ImageId): void {
    for (const sets of [this.#failed, this.#passed])
      for (const [server, images] of sets) if (images.delete(image) && images.size === 0) sets.delete(server)
    this.#sum()
  }

  /** Servers that left the roster are forgotten, with what they said. */
  keepServers(servers: ReadonlySet<MemberId>): void {
    for (const map of [this.#failed, this.#passed, this.#told])
      for (const server of map.keys()) if (!servers.has(server)) map.delete(server)
    this.#sum()
  }

  /** `nowMs` only where somebody may have come to be suspected. */
  #sum(nowMs = 0): void {
    if (this.#told.size === 0 && this.#failed.size === 0 && this.#suspected.size === 0) return
    const suspected = new Map<MemberId, number>()
    for (const doubted of [this.#failed.keys(), ...[...this.#told.values()].map((told) => told.keys())])
      for (const server of doubted) suspected.set(server, this.#suspected.get(server) ?? nowMs)
    this.#suspected = suspected
    for (const server of this.#passed.keys()) if (!suspected.has(server)) this.#passed.delete(server)
  }
}
