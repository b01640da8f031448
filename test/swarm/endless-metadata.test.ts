/** The danger: a member gives metadata without end, or drop by drop, and whoever asked it for a layer's metadata waits for ever or runs out of memory. */
import assert from "node:assert/strict"
import { once } from "node:events"
import { createServer, type AddressInfo } from "node:net"
import { test, type TestContext } from "node:test"
import bencode from "bencode"
import { GridError, type RefusalCode } from "#core/errors.ts"
import { MemoryPieceStore } from "#store/memory-piece-store.ts"
import { EXTENDED_HANDSHAKE, METADATA, METADATA_PART_BYTES } from "#swarm/extensions.ts"
import type { Connection } from "#swarm/connection.ts"
import { fetchMetadata } from "#swarm/metadata-fetch.ts"
import { Dialler } from "#swarm/dialler.ts"
import { testContent, testMember, testSwarm, torrentOf } from "./fixture.ts"
import { roguePeer, type Behaviour } from "./rogue-peer.ts"

const content = testContent(14_000_000)
/** Pieces small enough that the metadata has several parts. */
const torrent = torrentOf(content, 16 * 1024)
const refused = (code: RefusalCode) => (error: unknown) => error instanceof GridError && error.code === code

const introduction = (metadataBytes: number) => Buffer.from(bencode.encode({ m: { ut_metadata: METADATA }, metadata_size: metadataBytes }))
const part = (number: number, totalBytes: number, bytes: Buffer) =>
  Buffer.concat([bencode.encode({ msg_type: 1, piece: number, total_size: totalBytes }), bytes])
const says = (metadataBytes: number): Behaviour => ({
  greeted: (connection) => connection.sendExtended(EXTENDED_HANDSHAKE, introduction(metadataBytes)),
})

/** What comes of asking this peer alone. */
async function ask(t: TestContext, behaviour: Behaviour, signal = new AbortController().signal) {
  const rogue = await roguePeer(t, "rogue", behaviour)
  const { admission, memberId } = await testMember("asker", "client")
  const dialler = new Dialler(admission, memberId, () => performance.now())
  t.after(() => dialler.close())
  const connection = await dialler.dial(rogue.address, torrent.infohash, () => true)
  return fetchMetadata(connection, torrent.infohash, 1, signal)
}

test("metadata over 8 MiB is refused by its size, before a byte of it is asked for", async (t) => {
  let asked = 0
  for (const bytes of [8 * 1024 * 1024 + 1, 10 * 1024 ** 3, Number.MAX_SAFE_INTEGER]) {
    const behaviour: Behaviour = {
      ...says(bytes),
      message: (_, message) => (asked += message.type === "extended" && message.id === METADATA ? 1 : 0),
    }
    await assert.rejects(ask(t, behaviour), refused("PEER_MISBEHAVED"), String(bytes))
  }
  assert.equal(asked, 0)
})

test("parts that were not asked for, come twice, or are of another length end the asking at once", async (t) => {
  const filled = Buffer.alloc(METADATA_PART_BYTES)
  for (const [what, parts] of [
    ["a part beyond the end", [part(9, 40_000, filled)]],
    ["a part twice", [part(0, 40_000, filled), part(0, 40_000, filled)]],
    ["a short part", [part(0, 40_000, filled.subarray(1))]],
    ["a long last part", [part(2, 40_000, filled)]],
  ] as const) {
    let sent = false
    const answer = (connection: Connection) => {
      if (sent) return
      sent = true
      for (const bytes of parts) connection.sendExtended(METADATA, bytes)
    }
    const behaviour: Behaviour = {
      ...says(40_000),
      message: (connection, message) => message.type === "extended" && message.id === METADATA && answer(connection),
    }
    await assert.rejects(ask(t, behaviour), refused("PEER_MISBEHAVED"), what)
  }
})

test("metadata of another digest is refused, however right its length is", async (t) => {
  const wrong = Buffer.alloc(torrent.infoBytes.length, 7)
  const behaviour: Behaviour = {
    ...says(wrong.length),
    message: (connection, message) => {
      if (message.type !== "extended" || message.id !== METADATA) return
      const { piece } = bencode.decode(message.payload) as { piece: number }
      connection.sendExtended(
        METADATA,
        part(piece, wrong.length, wrong.subarray(piece * METADATA_PART_BYTES, (piece + 1) * METADATA_PART_BYTES)),
      )
    },
  }
  await assert.rejects(ask(t, behaviour), refused("PEER_MISBEHAVED"))
})

test(
  "peers that drip, are silent, or do not even speak TLS keep nobody waiting: the first that gives the metadata ends it",
  { timeout: 20_000 },
  async (t) => {
    // Says that it has the metadata, and sends the first of its many parts alone.
    const dripping: Behaviour = {
      ...says(4 * 1024 * 1024),
      message: (connection, message) => {
        if (message.type !== "extended" || message.id !== METADATA) return
        const { piece } = bencode.decode(message.payload) as { piece: number }
        if (piece === 0) connection.sendExtended(METADATA, part(0, 4 * 1024 * 1024, Buffer.alloc(METADATA_PART_BYTES)))
      },
    }
    const [drips, silent] = [await roguePeer(t, "drips", dripping), await roguePeer(t, "silent", {})]
    const hole = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1")
    await once(hole, "listening")
    t.after(() => hole.close())
    const honest = await testSwarm(t, "honest", "server")
    honest.join(torrent, MemoryPieceStore.full(torrent, content))
    const asker = await testSwarm(t, "asker", "client")
    const holeAddress = { host: "127.0.0.1", port: (hole.address() as AddressInfo).port }
    const startedMs = performance.now()
    const found = await asker.fetchTorrent(torrent.infohash, { peers: [drips.address, silent.address, holeAddress, honest.address] })
    const tookMs = performance.now() - startedMs
    assert.ok(found.infoBytes.equals(torrent.infoBytes))
    assert.ok(tookMs < 5_000, `${Math.round(tookMs)} ms; one that is asked alone would have been given 10 s`)
  },
)
