/** libtorrent 2 without encryption, set up for a swarm of known members; its settings stand in peers/libtorrent_peer.py. */
import { spawnSync } from "node:child_process"
import { link, mkdir } from "node:fs/promises"
import { join } from "node:path"
import { PYTHON } from "./command-peer.ts"
import type { Transport } from "./transport.ts"

export const libtorrent: Transport = {
  name: "libtorrent",
  settings: "plain TCP, 10 connections, short queues, all unchoked; hosts are given everyone's address",
  residentBytesPerHost: 60e6,
  missing: () => (spawnSync(PYTHON, ["-c", "import libtorrent"]).status === 0 ? null : "python3-libtorrent"),
  refuses: () => null,
  limitRatio: () => 20,
  async prepare({ torrent, contentPath }, directory) {
    await mkdir(directory, { recursive: true })
    await link(contentPath, join(directory, torrent.name))
  },
  command: (task) => ({ program: PYTHON, words: [join(import.meta.dirname, "../peers/libtorrent_peer.py"), JSON.stringify(task)] }),
}
