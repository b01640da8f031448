/** rsync daemons on the origins; each host fetches the whole file from one of them, all at once. */
import { link, mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { programPath } from "../command.ts"
import { commandPeer, PYTHON } from "./command-peer.ts"
import type { Transport } from "./transport.ts"

const PORT = 873

export const rsync: Transport = {
  name: "rsync",
  settings: "daemon, whole files, no compression; each host asks one origin",
  residentBytesPerHost: 20e6,
  missing: () => (programPath("rsync") === null ? "rsync" : programPath(PYTHON) === null ? "python3" : null),
  refuses: () => null,
  // Each origin sends as many copies as it has hosts.
  limitRatio: ({ hosts, origins, downBytesPerSecond, originBytesPerSecond }) =>
    20 + 2 * Math.ceil(hosts / origins) * Math.max(1, downBytesPerSecond / originBytesPerSecond),
  async prepare({ contentPath }, directory) {
    await mkdir(directory, { recursive: true })
    await link(contentPath, join(directory, "content"))
    const settings = [
      "uid = root",
      "gid = root",
      "use chroot = no",
      "max connections = 0",
      // Its own five are too few for hosts that come at once: one of 15 waited for ever.
      "listen backlog = 1024",
      "[lab]",
      `path = ${directory}`,
      "read only = yes",
    ]
    await writeFile(`${directory}.conf`, `${settings.join("\n")}\n`)
  },
  command(task) {
    const { role, directory, listen, origins, number } = task
    if (role === "origin") {
      const daemon = [
        "--daemon",
        "--no-detach",
        `--config=${directory}.conf`,
        `--address=${listen.host}`,
        `--port=${PORT}`,
        "--log-file=/dev/null",
      ]
      return commandPeer({ role, waiting: ["rsync", ...daemon], port: PORT, starting: null, contentPath: null })
    }
    const origin = origins[number % origins.length]
    const contentPath = join(directory, "content")
    const fetch = ["rsync", "--whole-file", "--inplace", `rsync://${origin?.host}:${PORT}/lab/content`, contentPath]
    return commandPeer({ role, waiting: null, port: null, starting: fetch, contentPath })
  },
}
