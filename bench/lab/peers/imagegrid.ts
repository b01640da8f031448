/** One member of a lab's swarm in a process of its own: bench/lab/peer-protocol.ts says how it is spoken to. */
import { once } from "node:events"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { setTimeout as pause } from "node:timers/promises"
import { systemClock } from "#core/clock.ts"
import { parseTorrent, pieceBytesAt } from "#core/torrent.ts"
import { LAYER_FILE } from "#store/file-piece-store.ts"
import { LayerStore } from "#store/layer-store.ts"
import { Swarm, type TorrentSession } from "#swarm/swarm.ts"
import { federate, testMember } from "../../../test/swarm/fixture.ts"
import { LOOK_MS, Seeding } from "../../seeding.ts"
import { machineMs, START, type PeerLine, type PeerTask } from "../peer-protocol.ts"

const task = JSON.parse(process.argv[2] ?? "") as PeerTask
const say = (line: PeerLine) => process.stdout.write(`${JSON.stringify(line)}\n`)

const torrent = parseTorrent(await readFile(task.infoPath))
/** Every site admits the members of all others. */
const siteOf = (site: number) => `site-${site + 1}`
const member = await testMember(`${task.role} ${task.number}`, task.member, siteOf(task.site))
await federate(
  member,
  Array.from({ length: task.siteCount }, (_, site) => siteOf(site)).filter((site) => site !== siteOf(task.site)),
)
const store = await LayerStore.open(task.directory)
const pieces = await store.pieces(torrent)
const budget = task.member === "server" ? task.wideAreaBudgetBytesPerSecond : null
const swarm = await Swarm.listen(
  { memberId: member.memberId, admission: member.admission.forSwarm(), clock: systemClock, discovery: null },
  { listen: task.listen, ...(budget === null ? {} : { wanBytesPerSecondLimit: budget }) },
)
const joinSwarm = () => swarm.join(torrent, pieces, { sharedWith: () => true })
if (task.role === "origin") joinSwarm()
const commands = createInterface({ input: process.stdin })
const ended = once(commands, "close")
say({ kind: "ready" })

const [command] = await Promise.race([once(commands, "line"), ended])
if (command === START) {
  const stopped = Promise.race([once(commands, "line"), ended])
  const cpuBefore = process.cpuUsage()
  // Those who come later are not there before.
  const session = swarm.session(torrent.infohash) ?? joinSwarm()
  if (task.role === "host") {
    session.addPeers(task.origins)
    void follow(session)
  }
  await stopped
  const cpu = process.cpuUsage(cpuBefore)
  const statistics = session.statistics()
  say({
    kind: "report",
    report: {
      downloadedBytes: statistics.downloadedBytes,
      uploadedBytes: statistics.uploadedBytes,
      duplicateBytes: statistics.duplicateBytes,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      residentBytes: process.resourceUsage().maxRSS * 1024,
      contentPath: task.role === "host" && session.complete ? join(store.directory, torrent.infohash, LAYER_FILE) : null,
    },
  })
}
await swarm.close()
await store.close()
commands.close()

async function follow(session: TorrentSession): Promise<void> {
  const reading = task.window ? readInOrder(session) : Promise.resolve()
  await session.whenComplete()
  await reading
  const doneMs = machineMs()
  say({ kind: "done", atMs: doneMs })
  if (task.until !== null) await leave(session, new Seeding(task.until, torrent.contentBytes, doneMs))
}

async function leave(session: TorrentSession, seeding: Seeding): Promise<void> {
  while (!seeding.leaves(session.demand(), machineMs())) await pause(LOOK_MS, undefined, { ref: false })
  await session.close()
  say({ kind: "left", atMs: machineMs() })
}

/** As a client that unpacks while it downloads. */
async function readInOrder(session: TorrentSession): Promise<void> {
  const bytes = Buffer.allocUnsafe(torrent.pieceBytes)
  for (let piece = 0; piece < torrent.pieceCount; piece += 1) {
    session.moveWindow(piece)
    await session.whenHeld(piece)
    await pieces.read(piece * torrent.pieceBytes, pieceBytesAt(torrent, piece), bytes)
  }
}
