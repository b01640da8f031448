/** This program's own swarm, mutual TLS and all. Hosts are told of the origins alone and find each other by peer exchange. */
import { link } from "node:fs/promises"
import { join } from "node:path"
import { LayerStore } from "#store/layer-store.ts"
import type { Transport } from "./transport.ts"

export const imagegrid: Transport = {
  name: "imagegrid",
  settings: "mutual TLS; hosts are given the origins' addresses alone",
  residentBytesPerHost: 130e6,
  missing: () => null,
  refuses: () => null,
  limitRatio: () => 20,
  async prepare({ torrent, contentPath }, directory) {
    const handedOver = `${directory}.content`
    await link(contentPath, handedOver)
    await using store = await LayerStore.open(directory)
    await store.adopt(torrent, handedOver)
  },
  command: (task) => ({ program: process.execPath, words: [join(import.meta.dirname, "../peers/imagegrid.ts"), JSON.stringify(task)] }),
}
