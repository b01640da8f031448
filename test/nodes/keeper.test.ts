/** Copies of placed images: as many as the rule says, where the roster says, and elsewhere when a server drains. */
import assert from "node:assert/strict"
import { after, test } from "node:test"
import { address } from "../../core/address.ts"
import type { Infohash } from "../../core/identifiers.ts"
import { readGridStatus, routes } from "../../core/wire.ts"
import { Ranking, place } from "../../grid/core/placement.ts"
import { setPlacement } from "../../nodes/place.ts"
import type { ImageServer } from "../../nodes/server.ts"
import type { Member } from "../../member/member.ts"
import { TestSite, until } from "../member/site.ts"
import { DocumentBoard } from "./document-board.ts"

const board = new DocumentBoard()
const documents = async ({ home }: Member) => board.join(home.memberId)
const site = await TestSite.start(undefined, {}, undefined, { documents })
after(() => site[Symbol.asyncDispose]())
const others: ImageServer[] = []
for (const name of ["second", "third", "fourth"]) others.push(await site.run(await site.joinServer(name), { documents }))
const servers = [site.server, ...others]
const layersOf = (image: string): Infohash[] =>
  site.server.member.catalogs.catalog.images.get(image)?.layers.map(({ infohash }) => infohash) ?? assert.fail(image)
const holders = async (image: string): Promise<string[]> => {
  const found: string[] = []
  for (const { member } of servers) {
    const whole = await Promise.all(layersOf(image).map((infohash) => member.layers.isWhole(infohash)))
    if (whole.every(Boolean)) found.push(member.home.memberId)
  }
  return found.sort()
}
await until("all servers know all", () => servers.every(({ member }) => member.directory.records().length === 4))
assert.ok((await setPlacement(await site.parts(), ["placed/*"], { copies: 2, sites: 1, pins: [], refuse: [] })).applied)
await until("all servers have the rule", () => servers.every(({ member }) => member.catalogs.catalog.site.placement.length === 1))

test("an image without a rule comes to every server, one with a rule to as many as it says", async () => {
  await site.publish("everywhere:1")
  await site.publish("placed/os:1")
  await until("every server has the one", async () => (await holders("everywhere:1")).length === 4, 60_000)
  await until("enough servers have the other", async () => (await holders("placed/os:1")).length >= 2, 60_000)
  const roster = servers.map(({ member }) => ({ memberId: member.home.memberId, site: "demo", weight: 1 }))
  const belongs = place("demo/placed/os:1", new Ranking(roster), { copies: 2, sites: 1, pins: [], refuse: [] }).holders
  const found = await holders("placed/os:1")
  // It stays where it was published until it is surplus for long: it is at two or three servers, of which two are those where it belongs.
  assert.ok(found.length <= 3, found.join())
  assert.ok(belongs.some((memberId) => found.includes(memberId)))
})

test("every keeper knows that nothing is at risk", async () => {
  await until("all are at their goals", () =>
    servers.every(({ keeper }) => {
      const status = keeper?.status()
      return status !== undefined && status.images === 1 && status.underGoal === 0 && status.atRisk.length === 0
    }),
  )
})

test("what a server knows of the grid it tells its own site's members; who drains it is its own home alone", async () => {
  const { api } = site.server.member
  const status = await api.json(address(others[0]?.apiAddress ?? assert.fail()), { path: routes.grid }, readGridStatus)
  assert.deepEqual(
    status.servers.map(({ memberId }) => memberId),
    servers.map(({ member }) => member.home.memberId).sort(),
  )
  assert.ok(status.servers.every(({ standing, phase, heldBytes }) => standing === "live" && phase === "serving" && Number(heldBytes) > 0))
  const drain = { method: "POST", path: routes.drain, body: { draining: true } } as const
  await assert.rejects(api.bytes(address(others[0]?.apiAddress ?? assert.fail()), drain), { code: "API_REFUSED" })
})

test("a server that drains sees its images taken over, says that it may leave, and serves them meanwhile", async () => {
  const held = await holders("placed/os:1")
  const draining = servers.filter(({ member }) => held.includes(member.home.memberId)).slice(0, held.length - 1)
  for (const { keeper } of draining) keeper?.drain(true)
  await until("they may leave", () => draining.every(({ keeper }) => keeper?.status().drained === true), 60_000)
  const staying = (await holders("placed/os:1")).filter((memberId) => !draining.some(({ member }) => member.home.memberId === memberId))
  assert.equal(staying.length, 2)
  for (const { member } of draining) assert.equal(board.state(member.home.memberId)?.phase, "draining")
  for (const { keeper } of draining) keeper?.drain(false)
})
