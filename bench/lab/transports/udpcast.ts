/**
 * Multicast with udpcast: the first origin sends, once all receivers are there, who wait from before. The time is
 * until the last receiver has ended. Of full and half duplex, with and without a bound on the rate, this was the fastest at 3, 10 and 30 Mbit/s.
 */
import { link, mkdir } from "node:fs/promises"
import { join } from "node:path"
import { programPath } from "../command.ts"
import { commandPeer, PYTHON } from "./command-peer.ts"
import type { Transport } from "./transport.ts"

const PORT_BASE = 9_000
/** Of the link: at full rate the sender fills its own queue and loses what does not fit, which cost 4 to 30 % more time at 3 and 10 Mbit/s. */
const RATE_SHARE = 0.985
/** The sender looks for receivers this often; by its default a session begins 2 s after all are there. */
const HELLO_MS = 50

export const udpcast: Transport = {
  name: "udpcast",
  settings: "one multicast session from the first origin, full duplex, 98.5 % of the link, hello every 50 ms",
  residentBytesPerHost: 20e6,
  missing: () => (programPath("udp-sender") === null ? "udpcast" : programPath(PYTHON) === null ? "python3" : null),
  refuses: ({ late }) => (late > 0 ? "nobody can join a multicast session that has begun" : null),
  limitRatio: () => 30,
  async prepare({ contentPath }, directory) {
    await mkdir(directory, { recursive: true })
    await link(contentPath, join(directory, "content"))
  },
  command(task, scenario) {
    const { role, directory, origins, all, listen } = task
    const contentPath = join(directory, "content")
    const common = ["--file", contentPath, "--interface", "eth0", "--portbase", String(PORT_BASE), "--nokbd", "--no-progress"]
    if (role === "host") return commandPeer({ role, waiting: ["udp-receiver", ...common], port: PORT_BASE, starting: null, contentPath })
    const sends = listen.host === origins[0]?.host
    const receivers = all.length - origins.length
    const rate = Math.min(scenario.originBytesPerSecond, scenario.downBytesPerSecond) * 8 * RATE_SHARE
    const tuning = ["--full-duplex", "--max-bitrate", String(Math.floor(rate)), "--rexmit-hello-interval", String(HELLO_MS)]
    const sender = ["udp-sender", ...common, ...tuning, "--min-receivers", String(receivers)]
    return commandPeer({ role, waiting: null, port: null, starting: sends ? sender : null, contentPath: null })
  },
}
