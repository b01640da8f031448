/** The danger: a server that was taken over answers without end, drop by drop, never, or with lies, and members hang on its lips. */
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { decodeInvite } from "../../crypto/invite.ts"
import { systemClock } from "../../core/clock.ts"
import { address, type Address } from "../../core/address.ts"
import { routes } from "../../core/wire.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import type { Home } from "../../member/home.ts"
import { packCatalog } from "../../trust/catalog-file.ts"
import { newRepository, withImages } from "../trust/repositories.ts"
import { dripping, endless, RogueServer, saying, silent, type Answer } from "./rogue-server.ts"
import { TestSite } from "./site.ts"

let site: TestSite
let rogueHome: Home
before(async () => {
  site = await TestSite.start()
  rogueHome = await site.join("rogue", systemClock, await site.invite({ role: "server" }))
})
after(() => site[Symbol.asyncDispose]())

async function asMember<Result>(name: string, use: (member: Member) => Promise<Result>): Promise<Result> {
  const member = await Member.start({ home: await site.join(name), clock: systemClock, log: silentLog }, { network: "api-only" })
  try {
    return await use(member)
  } finally {
    await member.close()
  }
}

test("an answer without end is cut off at the bytes that may come, and its memory with it", async () => {
  const counter = { bytes: 0 }
  await using rogue = await RogueServer.listen(rogueHome, endless(counter))
  await asMember("endless", async (member) => {
    const rssBefore = process.memoryUsage.rss()
    for (const maxBytes of [1_000, 1_000_000])
      await assert.rejects(member.api.bytes(rogue.address, { path: routes.status, maxBytes }), {
        code: "REQUEST_INVALID",
        message: /more than/,
      })
    assert.ok(counter.bytes < 64 * 1024 * 1024, `${counter.bytes} bytes were taken`)
    assert.ok(process.memoryUsage.rss() - rssBefore < 96 * 1024 * 1024)
  })
})

for (const [what, answer] of [
  ["drips", dripping],
  ["takes the request and says nothing", silent],
] as const)
  test(`a server that ${what} is given up in time, however long it would go on`, async () => {
    await using rogue = await RogueServer.listen(rogueHome, answer)
    await asMember(what.slice(0, 5), async (member) => {
      const startedMs = performance.now()
      await assert.rejects(member.api.bytes(rogue.address, { path: routes.catalog, timeoutMs: 400 }), {
        code: "SERVERS_UNREACHABLE",
        message: /no answer in time/,
      })
      assert.ok(performance.now() - startedMs < 3_000)
    })
  })

test("whatever one server does, the catalog comes from another, without waiting for the first", async () => {
  const foreign = await packCatalog(withImages(newRepository(), "debian:1"))
  const lies: [string, Answer][] = [
    ["drips", dripping],
    ["is silent", silent],
    ["never ends", endless({ bytes: 0 })],
    ["gives another site's catalog", saying(foreign)],
    ["gives junk", saying("junk")],
    ["hangs up", (request) => request.socket.destroy()],
    ["redirects", (_, response) => response.writeHead(302, { location: "https://192.0.2.1/" }).end()],
  ]
  for (const [what, answer] of lies) {
    await using rogue = await RogueServer.listen(rogueHome, answer)
    await asMember(`lied to, ${what}`, async (member) => {
      assert.ok(await member.directory.consider([rogue.record]))
      assert.deepEqual(member.apiAddresses()[0], rogue.address, "the rogue is asked first")
      const seqBefore = member.catalogs.catalog.seq
      await site.server.member.catalogs.keepFresh(Number.MAX_SAFE_INTEGER)
      const giveUp = new AbortController()
      const taken = new Promise<void>((resolve) => member.catalogs.onChange(() => resolve()))
      const refresh = member.catalogs.refresh(giveUp.signal)
      await taken
      giveUp.abort()
      await refresh
      assert.ok(member.catalogs.catalog.seq > seqBefore, what)
    })
  }
})

test("a machine joins at the next server when the first of its invite lies about the catalog, or never ends", async () => {
  const foreign = await packCatalog(withImages(newRepository(), "debian:1"))
  for (const [what, answer] of [
    ["another site's catalog", saying(foreign)],
    ["junk", saying("junk")],
    ["no end", endless({ bytes: 0 })],
    ["nothing", (request) => request.socket.destroy()],
  ] as [string, Answer][]) {
    await using rogue = await RogueServer.listen(rogueHome, answer)
    const home = await joinAt(`joins despite ${what}`, [rogue.address, address(site.server.apiAddress)])
    assert.equal(home.role, "client", what)
    await assert.rejects(joinAt(`can't join at ${what}`, [rogue.address]), { code: /CATALOG_INVALID|REQUEST_INVALID|SERVERS_UNREACHABLE/ })
  }
})

async function joinAt(name: string, api: readonly Address[]): Promise<Home> {
  return site.joinWith(name, { ...decodeInvite(await site.invite()), api })
}
