import assert from "node:assert/strict"
import { fork, type ChildProcess } from "node:child_process"
import { once } from "node:events"
import { test } from "node:test"
import type { Address } from "#core/address.ts"
import { readState } from "#grid/core/documents.ts"
import { Plane, type PeerEvent } from "#grid/plane.ts"
import { anywhere, areAlike, areConnected, identityOf, openPlanes, planeParts, planeServer, RosterBook, until } from "./planes.ts"
import { stateOf } from "./signed.ts"
import { TcpProxy } from "./tcp-proxy.ts"

/** A server that hangs or is killed is seen to be gone within this. */
const SEEN_WITHIN_MS = 5_000

function heldBytesOf(plane: Plane, number: number): number | null {
  const document = plane.documents.get(identityOf(number).memberId, "state")
  return document === null ? null : readState(document.data).heldBytes
}

test("two servers come together, and each has what the other says of itself, then and later", async () => {
  await using stack = new AsyncDisposableStack()
  const planes = (await openPlanes(2, new RosterBook())).map((plane) => stack.use(plane))
  for (const [number, plane] of planes.entries()) plane.publish("state", stateOf(number))
  await until(planes, () => areAlike(planes) && planes[0]?.documents.vector().length === 2)
  assert.ok(areConnected(planes))
  for (const [number, plane] of planes.entries()) {
    plane.publish("state", stateOf(10 + number))
    await until(planes, () => areAlike(planes))
  }
  assert.deepEqual(
    planes.map((plane) => [heldBytesOf(plane, 0), heldBytesOf(plane, 1)]),
    [
      [10, 11],
      [10, 11],
    ],
  )
})

test("publishing what is published already says nothing new", async () => {
  await using stack = new AsyncDisposableStack()
  const [plane = assert.fail()] = (await openPlanes(1, new RosterBook())).map((one) => stack.use(one))
  plane.publish("state", stateOf(1))
  const before = plane.documents.vector()
  plane.publish("state", stateOf(1))
  assert.deepEqual(plane.documents.vector(), before)
  assert.throws(() => plane.publish("state", Buffer.from("{}")), TypeError)
})

test("five servers come together, and what one says anew reaches all others", async () => {
  await using stack = new AsyncDisposableStack()
  const planes = (await openPlanes(5, new RosterBook())).map((plane) => stack.use(plane))
  for (const [number, plane] of planes.entries()) plane.publish("state", stateOf(number))
  await until(planes, () => areConnected(planes) && areAlike(planes) && planes[0]?.documents.vector().length === 5)
  planes[0]?.publish("state", stateOf(100))
  await until(planes, () => planes.every((plane) => heldBytesOf(plane, 0) === 100))
})

test("a server that starts anew with a clock that is behind is believed again, and not what it said before", async () => {
  await using stack = new AsyncDisposableStack()
  const book = new RosterBook()
  const [first = assert.fail(), second = assert.fail()] = await openPlanes(2, book)
  stack.use(first)
  second.publish("state", stateOf(1))
  await until([first], () => heldBytesOf(first, 1) === 1)
  await second.close()
  const behind = { nowMs: () => 1_000 }
  const again = stack.use(await Plane.open(planeParts(identityOf(1), book, { clock: behind }), { listen: anywhere }))
  again.publish("state", stateOf(2))
  book.put(planeServer(identityOf(1), [again.address]))
  await until([first, again], () => heldBytesOf(first, 1) === 2)
})

async function forkPlane(number: number): Promise<{ readonly child: ChildProcess; readonly address: Address }> {
  const child = fork(`${import.meta.dirname}/plane-process.ts`, [String(number)])
  const [address] = (await once(child, "message")) as [Address]
  return { child, address }
}

for (const [signal, what] of [
  ["SIGKILL", "is killed"],
  ["SIGSTOP", "hangs"],
] as const)
  test(`a server that ${what} is seen to be gone within 5 s, and the others go on`, async () => {
    await using stack = new AsyncDisposableStack()
    const book = new RosterBook()
    const planes = (await openPlanes(2, book)).map((plane) => stack.use(plane))
    const { child, address } = await forkPlane(2)
    stack.defer(() => void child.kill("SIGKILL"))
    book.put(planeServer(identityOf(2), [address]))
    child.send(book.servers)
    await until(planes, () => planes.every((plane) => heldBytesOf(plane, 2) === 2))
    const gone: PeerEvent[] = []
    for (const plane of planes) plane.onPeer((event) => gone.push(event))
    const [stoppedAt, stoppedAtMs] = [performance.now(), Date.now()]
    child.kill(signal)
    await until(planes, () => gone.length === 2)
    const tookMs = performance.now() - stoppedAt
    assert.ok(tookMs < SEEN_WITHIN_MS, `${tookMs} ms`)
    for (const event of gone) {
      assert.ok(event.is === "down" && event.memberId === identityOf(2).memberId)
      // When it was last heard is when it was stopped, however late that is seen.
      assert.ok(event.lastHeardMs > stoppedAtMs - 3_000 && event.lastHeardMs <= stoppedAtMs + 100, `${event.lastHeardMs - stoppedAtMs} ms`)
    }
    planes[0]?.publish("state", stateOf(50))
    await until(planes, () => planes[1] !== undefined && heldBytesOf(planes[1], 0) === 50)
  })

test("two halves of a grid that can't reach each other go on, and have the same soon after they can", async () => {
  await using stack = new AsyncDisposableStack()
  const books = Array.from({ length: 5 }, () => new RosterBook())
  const planes: Plane[] = []
  for (const [number, book] of books.entries())
    planes.push(stack.use(await Plane.open(planeParts(identityOf(number), book), { listen: anywhere })))
  const isCrossing = (from: number, to: number) => from < 2 !== to < 2
  const proxies: TcpProxy[] = []
  for (const [from, book] of books.entries()) {
    const servers = []
    for (const [to, plane] of planes.entries()) {
      if (!isCrossing(from, to)) {
        servers.push(planeServer(identityOf(to), [plane.address]))
        continue
      }
      const proxy = stack.use(await TcpProxy.open(plane.address))
      proxies.push(proxy)
      servers.push(planeServer(identityOf(to), [proxy.address]))
    }
    book.set(servers)
  }
  for (const [number, plane] of planes.entries()) plane.publish("state", stateOf(number))
  await until(planes, () => areConnected(planes) && areAlike(planes) && planes[0]?.documents.vector().length === 5)

  for (const proxy of proxies) proxy.cut()
  const halves = [planes.slice(0, 2), planes.slice(2)]
  const isApart = () =>
    planes.every((plane, from) =>
      plane.peers().every(({ memberId, isConnected }) => {
        const to = planes.findIndex((_, number) => identityOf(number).memberId === memberId)
        return isConnected !== isCrossing(from, to)
      }),
    )
  await until(planes, isApart)
  for (const [number, plane] of planes.entries()) plane.publish("state", stateOf(100 + number))
  for (const half of halves) await until(half, () => areAlike(half))
  assert.ok(!areAlike(planes))

  const connections: number[] = []
  for (const plane of planes) plane.onPeer(({ is }) => is === "up" && connections.push(performance.now()))
  for (const proxy of proxies) proxy.mend()
  await until(planes, () => areAlike(planes))
  const healedMs = performance.now() - (connections[0] ?? assert.fail())
  assert.ok(healedMs < 5_000, `alike ${healedMs} ms after the first connection`)
  for (const number of planes.keys()) for (const plane of planes) assert.equal(heldBytesOf(plane, number), 100 + number)
})
