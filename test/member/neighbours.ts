/** Members that know one neighbour and no server: each pair shares a torrent of its own, and the DHT has nobody to ask. */
import type { Infohash } from "../../core/identifiers.ts"
import type { Member } from "../../member/member.ts"
import { MemoryPieceStore } from "../../store/memory-piece-store.ts"
import { testContent, torrentOf } from "../swarm/fixture.ts"

let torrents = 0

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
