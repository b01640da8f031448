/** The danger: the pointer to the newest catalog, rightly signed with a stolen key, names something without end. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { systemClock } from "../../core/clock.ts"
import { formatAddress } from "../../core/address.ts"
import { makeTorrent } from "../../core/torrent.ts"
import { CATALOG_BYTES_MAX } from "../../core/wire.ts"
import { sign, signingKeyFromSeed } from "../../crypto/identity.ts"
import { POINTER_SALT } from "../../member/catalog-keeper.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { MemoryPieceStore } from "../../store/memory-piece-store.ts"
import { TestSite } from "./site.ts"

test("a pointer to more than a catalog may be is refused by its length, and the catalog stays what it was", async () => {
  await using site = await TestSite.start()
  const { member: server } = site.server
  const pieceBytes = 1024 * 1024
  const contentBytes = CATALOG_BYTES_MAX + 1
  const pieceDigests = Buffer.alloc(Math.ceil(contentBytes / pieceBytes) * 20, 1)
  const torrent = makeTorrent({ name: "imagegrid-catalog", contentBytes, pieceBytes, pieceDigests })
  // Nothing of it needs to be held: its length stands in the metadata.
  const endless = server.swarm.join(torrent, new MemoryPieceStore(torrent))
  const key = signingKeyFromSeed(Buffer.from((await site.home.onlineKeys()).pointers[0] ?? "", "hex"))
  const signing = { publicKeyHex: key.publicKeyHex, sign: (message: Buffer) => sign(key, message) }
  await server.dht.putPointer({ signing, salt: POINTER_SALT, seq: Number.MAX_SAFE_INTEGER, infohash: torrent.infohash })

  const home = await site.join("client")
  const member = await Member.start({ home, clock: systemClock, log: silentLog })
  try {
    member.dht.addNodes([server.dht.address])
    const before = member.catalogs.catalog.seq
    const { failures, answers } = await member.catalogs.refresh()
    assert.ok(answers >= 1, `the server at ${formatAddress(server.swarm.address)} still gives its catalog over the API`)
    assert.deepEqual(
      failures.map((failure) => (failure as { code?: string }).code),
      ["CATALOG_INVALID"],
    )
    assert.match(String(failures[0]), new RegExp(`a catalog of ${contentBytes} bytes`))
    assert.ok(member.catalogs.catalog.seq >= before)
  } finally {
    await member.close()
    await endless.close()
  }
})
