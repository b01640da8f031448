/**
 * One end of bench/pair.ts, in a process of its own: `seed` or `leech`, a directory with a layer store, the file of the info dictionary and, to leech,
 * the seeder's port. Talks in lines of JSON; a seeder ends when its standard input does.
 */
import { once } from "node:events"
import { readFile } from "node:fs/promises"
import { systemClock } from "#core/clock.ts"
import { parseTorrent } from "#core/torrent.ts"
import { LayerStore } from "#store/layer-store.ts"
import { Swarm } from "#swarm/swarm.ts"
import { testMember } from "../test/swarm/fixture.ts"

const [end = "", directory = "", infoPath = "", port = "0"] = process.argv.slice(2)
const torrent = parseTorrent(await readFile(infoPath))
const store = await LayerStore.open(directory)
const pieces = await store.pieces(torrent)
const member = await testMember(end, end === "seed" ? "server" : "client")
const swarm = await Swarm.listen({ ...member, clock: systemClock, discovery: null }, { listen: { host: "127.0.0.1", port: 0 } })
const session = swarm.join(torrent, pieces)
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)
const cpuBefore = process.cpuUsage()
const startedMs = performance.now()
if (end === "seed") {
  say({ port: swarm.address.port })
  process.stdin.resume()
  await once(process.stdin, "end")
} else {
  session.addPeers([{ host: "127.0.0.1", port: Number(port) }])
  await session.whenComplete()
}
const tookMs = performance.now() - startedMs
const cpu = process.cpuUsage(cpuBefore)
say({ tookMs, cpuSeconds: (cpu.user + cpu.system) / 1e6, residentBytes: process.resourceUsage().maxRSS * 1024, ...session.statistics() })
await swarm.close()
await store.close()
