/**
 * BitTorrent programs that we did not write, pointed at a server's and a seeding client's swarm port with the right infohash, and even with the
 * torrent's metadata: without a certificate of the site they get no payload and no metadata. A member in the same test gets all of it.
 */
import assert from "node:assert/strict"
import { spawnSync } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { join } from "node:path"
import { after, before, test } from "node:test"
import bencode from "bencode"
import { fileURLToPath } from "node:url"
import { address, type Address } from "../../core/address.ts"
import { parseTorrent } from "../../core/torrent.ts"
import { TestGrid } from "./grid.ts"
import { makeTree } from "./trees.ts"

const PATIENCE_S = 6
let grid: TestGrid
let infohash: string
let torrentFile: string
const ports: Address[] = []

before(async () => {
  grid = new TestGrid()
  makeTree(grid.home("tree"), 2_000_000)
  const server = await grid.site()
  const publish = await grid.run(["publish", grid.home("tree"), "os:1", "--home", grid.home("server-1"), "--wait-copies", "1"])
  infohash = String((await publish.event("published"))["infohash"])
  const running = await server.event("server-running")
  ports.push(address(String(running["swarm"])))
  await grid.run(["join", await grid.invite(), "--home", grid.home("seeder"), "--swarm", "127.0.0.1:17481", "--dht", "127.0.0.1:0"])
  const seeder = grid.start([
    "deploy",
    "os:1",
    "--home",
    grid.home("seeder"),
    "--target",
    grid.home("seeder-root"),
    "--seed-until",
    "forever",
  ])
  await seeder.event("good")
  ports.push(address("127.0.0.1:17481"))
  const info = readFileSync(join(grid.home("server-1/layers"), infohash, "info"))
  assert.equal(parseTorrent(info).infohash, infohash)
  torrentFile = grid.home("layer.torrent")
  writeFileSync(torrentFile, Buffer.concat([Buffer.from("d4:info"), info, Buffer.from("e")]))
})
after(() => grid[Symbol.asyncDispose]())

/** Regular bytes on disk that are not zero, below a directory. */
function payloadBytes(directory: string): number {
  let sum = 0
  for (const name of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const path = join(directory, name)
    if (statSync(path).isFile() && !name.endsWith(".aria2")) for (const byte of readFileSync(path)) if (byte !== 0) sum++
  }
  return sum
}

function installed(program: string, words: readonly string[]): boolean {
  return spawnSync(program, words).status === 0
}

test("webtorrent, with the torrent's metadata and without, gets nothing from a server or a client", () => {
  const directory = grid.home("webtorrent")
  mkdirSync(directory)
  const script = fileURLToPath(new URL("./stranger-webtorrent.js", import.meta.url))
  const peers = ports.map(({ host, port }) => `${host}:${port}`)
  const run = spawnSync(process.execPath, [script, directory, torrentFile, infohash, String(PATIENCE_S), ...peers], { encoding: "utf8" })
  assert.equal(run.status, 0, run.stderr)
  assert.deepEqual(JSON.parse(run.stdout), { dialled: true, downloadedBytes: 0, metadata: false })
  assert.equal(payloadBytes(directory), 0)
})

const libtorrent = installed("python3", ["-c", "import libtorrent"]) ? "python3" : "/usr/bin/python3"
test(
  "libtorrent gets nothing",
  { skip: !installed(libtorrent, ["-c", "import libtorrent"]) && "python3-libtorrent is not installed" },
  () => {
    const directory = grid.home("libtorrent")
    mkdirSync(directory)
    const program = `
import json, sys, time
import libtorrent as lt
directory, torrent, infohash, patience = sys.argv[1:5]
peers = [(peer.split(":")[0], int(peer.split(":")[1])) for peer in sys.argv[5:]]
session = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False})
whole = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": directory})
magnet = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False})
wanted = lt.parse_magnet_uri("magnet:?xt=urn:btih:" + infohash)
wanted.save_path = directory + "/magnet"
bare = magnet.add_torrent(wanted)
for end in range(int(patience) * 2):
    for handle in (whole, bare):
        for peer in peers:
            handle.connect_peer(peer)
    time.sleep(0.5)
print(json.dumps({"downloadedBytes": whole.status().total_payload_download, "metadata": bare.status().has_metadata}))
`
    const peers = ports.map(({ host, port }) => `${host}:${port}`)
    const run = spawnSync(libtorrent, ["-c", program, directory, torrentFile, infohash, String(PATIENCE_S), ...peers], { encoding: "utf8" })
    assert.equal(run.status, 0, run.stderr)
    assert.deepEqual(JSON.parse(run.stdout), { downloadedBytes: 0, metadata: false })
    assert.equal(payloadBytes(directory), 0)
  },
)

test("aria2c, sent by a tracker, gets nothing", { skip: !installed("aria2c", ["--version"]) && "aria2c is not installed" }, async () => {
  const directory = grid.home("aria2")
  mkdirSync(directory)
  let asked = 0
  const compact = Buffer.concat(ports.map(({ host, port }) => Buffer.from([...host.split(".").map(Number), port >> 8, port & 0xff])))
  const tracker = createServer((_request, response) => {
    asked++
    response.end(bencode.encode({ interval: 1, peers: compact }))
  }).listen(0, "127.0.0.1")
  await once(tracker, "listening")
  const bound = tracker.address()
  assert.ok(bound !== null && typeof bound === "object")
  const words = [
    `--dir=${directory}`,
    `--bt-tracker=http://127.0.0.1:${bound.port}/announce`,
    "--enable-dht=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=false",
    "--file-allocation=none",
    "--seed-time=0",
    "--interface=127.0.0.1",
    "--listen-port=17482",
    `--bt-stop-timeout=${PATIENCE_S}`,
    torrentFile,
  ]
  const { spawn } = await import("node:child_process")
  const aria2 = spawn("aria2c", words, { stdio: ["ignore", "pipe", "pipe"] })
  let printed = ""
  aria2.stdout.setEncoding("utf8").on("data", (text: string) => (printed += text))
  aria2.stderr.resume()
  const [code] = (await once(aria2, "close")) as [number | null]
  tracker.close()
  assert.ok(asked > 0, "aria2c never asked the tracker for peers")
  assert.notEqual(code, 0, printed)
  assert.equal(payloadBytes(directory), 0)
})

test("a member, in the same swarm at the same moment, gets all of it", async () => {
  await grid.joinClient("member")
  const deploy = await grid.run([
    "deploy",
    "os:1",
    "--home",
    grid.home("member"),
    "--target",
    grid.home("member-root"),
    "--seed-until",
    "done",
  ])
  const downloaded = await deploy.event("downloaded")
  assert.ok(Number(downloaded["fromOrigins"]) + Number(downloaded["fromClients"]) >= 2_000_000)
})
