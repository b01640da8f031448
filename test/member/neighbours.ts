/** Members that know one neighbour and no server: each pair shares a torrent of its own, and the DHT has nobody to ask. */
import type { TestContext } from "node:test"
import { systemClock, type Clock } from "../../core/clock.ts"
import type { Infohash } from "../../core/identifiers.ts"
import type { Home } from "../../member/home.ts"
import { silentLog, type Log } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { MemoryPieceStore } from "../../store/memory-piece-store.ts"
import { testContent, torrentOf } from "../swarm/fixture.ts"

let torrents = 0

export async function runMember(t: TestContext, home: Home, parts: { readonly clock?: Clock; readonly log?: Log } = {}): Promise<Member> {
  const member = await Member.start({ home, clock: parts.clock ?? systemClock, log: parts.log ?? silentLog })
  t.after(() => member.close())
  return member
}

/** Connects two members, and no others, until one of them leaves. */
export async function makeNeighbours(a: Member, b: Member): Promise<Infohash> {
  torrents += 1
  const content = testContent(20_000, torrents)
  const torrent = torrentOf(content, 16 * 1024, `shared by two, ${torrents}`)
  a.swarm.join(torrent, MemoryPieceStore.full(torrent, content))
  const session = b.swarm.join(torrent, new MemoryPieceStore(torrent))
  session.addPeers([a.swarm.address])
  await session.whenComplete()
  return torrent.infohash
}
