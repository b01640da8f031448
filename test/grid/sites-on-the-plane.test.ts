import assert from "node:assert/strict"
import { test } from "node:test"
import { planeKeyOf } from "#crypto/plane-key.ts"
import { siteName, type SiteName } from "#core/identifiers.ts"
import { Plane, type PlaneParts, type PlaneServer } from "#grid/plane.ts"
import { anywhere, areAlike, areConnected, cineca, identityOf, networkKey, planeParts, planeServer, RosterBook, until } from "./planes.ts"
import { stateOf } from "./signed.ts"

const [garr, infn] = [siteName("garr"), siteName("infn")]

/** Planes of servers 0, 1, ... of these sites, not in touch yet; `introduce` gives each the others as its roster. */
async function openOf(stack: AsyncDisposableStack, sites: readonly SiteName[], parts: (number: number) => Partial<PlaneParts>) {
  const books = sites.map(() => new RosterBook())
  const planes: Plane[] = []
  for (const [number, site] of sites.entries()) {
    const own = { site, ...parts(number) }
    const plane = await Plane.open(planeParts(identityOf(number), books[number] ?? assert.fail(), own), { listen: anywhere })
    planes.push(stack.use(plane))
    plane.publish("state", stateOf(number))
  }
  const servers: PlaneServer[] = planes.map((plane, number) => planeServer(identityOf(number), [plane.address], sites[number]))
  const introduce = (knows: (from: number, to: number) => boolean = () => true) => {
    for (const [from, book] of books.entries()) book.set(servers.filter((_, to) => knows(from, to)))
  }
  return { planes, books, servers, introduce }
}

const byId = (a: string = "", b: string = ""): number => (a < b ? -1 : 1)

test("servers of two sites with network keys of their own form one plane", async () => {
  await using stack = new AsyncDisposableStack()
  const { planes, introduce } = await openOf(stack, [cineca, cineca, garr], () => ({}))
  introduce()
  await until(planes, () => areConnected(planes) && areAlike(planes) && planes[0]?.documents.vector().length === 3)
})

test("where only one of two sites has the other's key, that one dials, whichever id is lower", async () => {
  for (const knowing of [0, 1]) {
    await using stack = new AsyncDisposableStack()
    const sites = [cineca, garr]
    const { planes, introduce } = await openOf(stack, sites, (number) => ({
      planeKeysOf: (site) => (site === sites[number] || number === knowing ? [planeKeyOf(networkKey(site))] : []),
    }))
    introduce()
    await until(planes, () => areConnected(planes) && areAlike(planes))
  }
})

/** Keys of site cineca by their numbers, the one in force first. */
const keys = (...numbers: number[]) => ({ planeKeysOf: (site: string) => numbers.map((number) => planeKeyOf(networkKey(site, number))) })

test("while one network key replaces another, those who know the old one, both or the new one are one plane", async () => {
  // Old alone, both with the old in force, both with the new in force, new alone; the first and the last have none in common.
  const known = [keys(0), keys(0, 1), keys(1, 0), keys(1)]
  await using stack = new AsyncDisposableStack()
  const { planes, introduce } = await openOf(stack, [cineca, cineca, cineca, cineca], (number) => known[number] ?? assert.fail())
  introduce()
  await until(planes, () => areAlike(planes) && planes[0]?.documents.vector().length === 4)
  const connected = planes.map((plane) => plane.peers().filter(({ isConnected }) => isConnected).length)
  await until(planes, () => planes.map((plane) => plane.peers().filter(({ isConnected }) => isConnected).length).join() === "2,3,3,2")
  assert.ok(connected.every((count) => count >= 1))
})

test("a revoked server is cut off by all at once, its documents are forgotten, and it is told nothing more", async () => {
  await using stack = new AsyncDisposableStack()
  const { planes, books, servers, introduce } = await openOf(stack, [cineca, cineca, cineca], () => ({}))
  introduce()
  await until(planes, () => areConnected(planes) && areAlike(planes) && planes[0]?.documents.vector().length === 3)
  const [one = assert.fail(), two = assert.fail(), revoked = assert.fail()] = planes
  for (const book of books.slice(0, 2)) book.set(servers.slice(0, 2))
  assert.deepEqual(
    [one, two].map((plane) => plane.documents.vector().length),
    [2, 2],
  )
  // It has not heard of it, and takes the others for servers as before.
  await until([revoked], () => revoked.peers().every(({ isConnected }) => !isConnected))
  one.publish("state", stateOf(100))
  await until([one, two], () => areAlike([one, two]))
  assert.ok(!areAlike([one, revoked]))
})

test("a site that has no agreement with another is told nothing of it by the one that has agreements with both", async () => {
  await using stack = new AsyncDisposableStack()
  const sites = [cineca, garr, infn]
  // Cineca has agreements with both others, and those have none with each other.
  const mayHear = (site: string, of: string) => site === of || site === cineca || of === cineca
  const { planes, introduce } = await openOf(stack, sites, () => ({ mayHear }))
  introduce((from, to) => mayHear(sites[from] ?? "", sites[to] ?? ""))
  const [middle = assert.fail(), garrs = assert.fail(), infns = assert.fail()] = planes
  const membersIn = (plane: Plane) => plane.documents.vector().map(({ memberId }) => memberId)
  const [ofMiddle, ofGarr, ofInfn] = [0, 1, 2].map((number) => identityOf(number).memberId)
  await until(planes, () => membersIn(middle).length === 3 && membersIn(garrs).length === 2 && membersIn(infns).length === 2)
  assert.deepEqual(membersIn(garrs), [ofMiddle, ofGarr].sort(byId))
  assert.deepEqual(membersIn(infns), [ofMiddle, ofInfn].sort(byId))
})
