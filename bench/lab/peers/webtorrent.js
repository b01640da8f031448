/** One webtorrent peer of a lab in a process of its own: bench/lab/peer-protocol.ts says how it is spoken to. */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import WebTorrent from "webtorrent"

const task = JSON.parse(process.argv[2])
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
const nowMs = () => Number(process.hrtime.bigint()) / 1e6
const commands = createInterface({ input: process.stdin })[Symbol.asyncIterator]()

/** It goes through all its connections for every block: at 12 hosts on 20 Mbit/s links 5 took half the time of 500, and 10 three quarters. */
const MAX_CONNECTIONS = 6

const client = new WebTorrent({
  dht: false,
  tracker: false,
  lsd: false,
  utPex: false,
  natUpnp: false,
  natPmp: false,
  utp: false,
  maxConns: MAX_CONNECTIONS,
  torrentPort: task.listen.port,
})
const fail = (error) => {
  console.error(error)
  process.exit(1)
}
client.on("error", fail)
const info = readFileSync(task.infoPath)
const torrent = client.add(Buffer.concat([Buffer.from("d4:info"), info, Buffer.from("e")]), { path: task.directory, strategy: "rarest" })
await new Promise((resolve) => torrent.once("ready", resolve))
if (task.role === "origin" && !torrent.done) await new Promise((resolve) => torrent.once("done", resolve))
say({ kind: "ready" })

const { value: command } = await commands.next()
if (command === "start") {
  const cpuBefore = process.cpuUsage()
  if (task.role === "host") {
    torrent.once("done", () => say({ kind: "done", atMs: nowMs() }))
    for (const { host, port } of task.all) if (host !== task.listen.host) torrent.addPeer(`${host}:${port}`)
  }
  await commands.next()
  const cpu = process.cpuUsage(cpuBefore)
  say({
    kind: "report",
    report: {
      downloadedBytes: torrent.received,
      uploadedBytes: torrent.uploaded,
      duplicateBytes: task.role === "host" && torrent.done ? Math.max(0, torrent.received - torrent.length) : 0,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      residentBytes: process.resourceUsage().maxRSS * 1024,
      contentPath: task.role === "host" && torrent.done ? join(task.directory, torrent.name) : null,
    },
  })
}
process.exit()
