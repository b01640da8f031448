// A webtorrent program of its own, for strangers-get-nothing.test.ts: DIRECTORY TORRENT INFOHASH SECONDS HOST:PORT...
// Prints one JSON line: whether it dialled, payload bytes that it got, and whether it got metadata without having it.
import { readFileSync } from "node:fs"
import { connect } from "node:net"
import WebTorrent from "webtorrent"

const [directory, torrentFile, infohash, seconds, ...peers] = process.argv.slice(2)
const options = { dht: false, tracker: false, lsd: false, utPex: false, natUpnp: false, natPmp: false, utp: false }
const whole = new WebTorrent(options)
const bare = new WebTorrent(options)
for (const client of [whole, bare]) client.on("error", () => {})
const torrent = whole.add(readFileSync(torrentFile), { path: directory })
const magnet = bare.add(`magnet:?xt=urn:btih:${infohash}`, { path: `${directory}/magnet` })
let metadata = false
magnet.on("metadata", () => (metadata = true))

// The ports are open: whatever webtorrent does not get, it is not for want of a listener.
const reached = await Promise.all(
  peers.map(
    (peer) =>
      new Promise((resolve) => {
        const [host, port] = peer.split(":")
        const socket = connect(Number(port), host, () => {
          socket.destroy()
          resolve(true)
        }).on("error", () => resolve(false))
      }),
  ),
)
const dial = () => peers.forEach((peer) => [torrent, magnet].forEach((each) => each.addPeer(peer)))
torrent.on("ready", dial)
dial()
const dialling = setInterval(dial, 1_000)
setTimeout(
  () => {
    clearInterval(dialling)
    console.log(JSON.stringify({ dialled: reached.every(Boolean), downloadedBytes: torrent.downloaded, metadata }))
    process.exit(0)
  },
  Number(seconds) * 1_000,
)
