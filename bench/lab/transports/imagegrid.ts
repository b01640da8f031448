/** This program's own swarm, mutual TLS and all. Hosts are told of the origins alone and find each other by peer exchange. */
import { link } from "node:fs/promises"
import { LayerStore } from "#store/layer-store.ts"
import { compileOnce, nodePeer } from "./node-peer.ts"
import type { Transport } from "./transport.ts"

const script = new URL("../peers/imagegrid.ts", import.meta.url)

export const imagegrid: Transport = {
  name: "imagegrid",
  settings: "mutual TLS; hosts are given the origins' addresses alone",
  residentBytesPerHost: 80e6,
  missing: () => null,
  refuses: () => null,
  limitRatio: () => 20,
  async prepare(content, directory) {
    const { torrent, contentPath } = content
    await compileOnce(script, content)
    const handedOver = `${directory}.content`
    await link(contentPath, handedOver)
    await using store = await LayerStore.open(directory)
    await store.adopt(torrent, handedOver)
  },
  command: (task) => nodePeer(script, task),
}
