/** webtorrent, rarest first. Hosts are given everyone's address. */
import { existsSync } from "node:fs"
import { link, mkdir } from "node:fs/promises"
import { join } from "node:path"
import { compileOnce, nodePeer } from "./node-peer.ts"
import type { Transport } from "./transport.ts"

const PACKAGE = join(import.meta.dirname, "../../../node_modules/webtorrent/package.json")

const script = new URL("../peers/webtorrent.js", import.meta.url)

export const webtorrent: Transport = {
  name: "webtorrent",
  settings: "rarest first, plain TCP, 6 connections; hosts are given everyone's address",
  residentBytesPerHost: 120e6,
  missing: () => (existsSync(PACKAGE) ? null : "the npm package webtorrent"),
  refuses: () => null,
  limitRatio: () => 40,
  async prepare(content, directory) {
    const { torrent, contentPath } = content
    await compileOnce(script, content)
    await mkdir(directory, { recursive: true })
    await link(contentPath, join(directory, torrent.name))
  },
  command: (task) => nodePeer(script, task),
}
