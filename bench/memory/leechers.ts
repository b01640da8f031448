/**
 * Clients of bench/memory.ts, several in one process: the server's home, its swarm port, and for each client the file of the info dictionary that it
 * fetches. Says "ready", begins when a line comes, says what it got, and stays connected until its input ends. Bytes are verified and let go of: it
 * is the seeder's memory that is measured, and to each client it is the only peer.
 */
import { readFile } from "node:fs/promises"
import { createInterface } from "node:readline"
import { systemClock } from "#core/clock.ts"
import type { PieceStore } from "#core/piece-store.ts"
import { parseTorrent, type Torrent } from "#core/torrent.ts"
import { Home } from "#member/home.ts"
import { PieceSet } from "#store/piece-set.ts"
import { Swarm } from "#swarm/swarm.ts"
import { newClient } from "./site.ts"

/** Says that it holds what was written, and holds nothing. */
function forgetfulStore(torrent: Torrent): PieceStore {
  const { contentBytes, pieceBytes, pieceCount } = torrent
  const held = new PieceSet(pieceCount)
  return {
    contentBytes,
    pieceBytes,
    pieceCount,
    has: (piece) => held.has(piece),
    get heldCount() {
      return held.count
    },
    write: async (piece) => void held.add(piece),
    read: () => Promise.reject(new Error("nothing is kept here")),
    sync: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
}

const [directory = "", port = "", ...infoPaths] = process.argv.slice(2)
const home = await Home.open(directory)
const swarms: Swarm[] = []
const sessions = await Promise.all(
  infoPaths.map(async (path) => {
    const swarm = await Swarm.listen(
      { ...(await newClient(home)), clock: systemClock, discovery: null },
      { listen: { host: "127.0.0.1", port: 0 }, maxPeersPerTorrent: 1 },
    )
    swarms.push(swarm)
    const torrent = parseTorrent(await readFile(path))
    return swarm.join(torrent, forgetfulStore(torrent))
  }),
)
const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
console.log("ready")
await input.next()
for (const session of sessions) session.addPeers([{ host: "127.0.0.1", port: Number(port) }])
await Promise.all(sessions.map((session) => session.whenComplete()))
console.log(sessions.reduce((sum, session) => sum + session.statistics().downloadedBytes, 0))
await input.next()
for (const swarm of swarms) await swarm.close()
