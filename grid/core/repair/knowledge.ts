/** What this server knows of the grid: the roster, the images, each fellow's state, who is believed to hold what, and who is not believed. The parts of repair decide by it. */
import type { MemberId } from "#core/identifiers.ts"
import type { LivenessLimits } from "../liveness.ts"
import { Ranking } from "../placement.ts"
import { Claims } from "./claims.ts"
import { Doubts } from "./doubts.ts"
import { Fellows } from "./fellows.ts"
import { Images } from "./images.ts"
import { lowestIn } from "./server-bits.ts"

export class Knowledge {
  readonly self: MemberId
  ranking = new Ranking([])
  /** Own position in the ranking; null when this server is not in the roster. */
  own: number | null = null
  readonly images = new Images()
  readonly claims = new Claims()
  readonly doubts = new Doubts()
  readonly fellows: Fellows

  constructor(self: MemberId, liveness: LivenessLimits) {
    this.self = self
    this.fellows = new Fellows(self, this.ranking, liveness)
  }

  setRanking(ranking: Ranking, nowMs: number): void {
    const moved = this.ranking.servers.map(({ memberId }) => ranking.positionOf(memberId))
    this.ranking = ranking
    this.own = ranking.positionOf(this.self) ?? null
    this.fellows.setRanking(ranking, nowMs)
    this.images.setRanking(ranking)
    this.claims.setServers(ranking.servers.length, moved, this.images.numbersEnd)
    this.doubts.keepServers(new Set(ranking.servers.map(({ memberId }) => memberId)))
  }

  memberAt(position: number): MemberId {
    const server = this.ranking.servers[position]
    if (server === undefined) throw new RangeError(`there is no server at position ${position}`)
    return server.memberId
  }

  /** Images that this server is believed to hold. */
  heldBy(server: MemberId): readonly number[] {
    const position = this.ranking.positionOf(server)
    return position === undefined ? [] : this.claims.of(position, this.images.numbersEnd)
  }

  /** Positions of the servers heard of late that are believed to hold it, but this one. */
  recentHolders(image: number): number[] {
    const holders: number[] = []
    for (let word = 0; word < this.claims.words; word += 1)
      for (let bits = this.claims.word(image, word) & (this.fellows.recent[word] ?? 0); bits !== 0; bits &= bits - 1) {
        const server = lowestIn(bits, word)
        if (server !== this.own) holders.push(server)
      }
    return holders
  }

  /** Whether this server's word on this image is not believed here. */
  isDoubted(server: number, image: number): boolean {
    return !this.doubts.isEmpty && this.doubts.isDoubted(this.memberAt(server), this.images.idOf(image))
  }
}
