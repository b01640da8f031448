import { connect, type Socket } from "node:net"
import { test } from "node:test"
import { setTimeout } from "node:timers/promises"
import type { Address } from "#core/address.ts"
import { Plane } from "#grid/plane.ts"
import { anywhere, areConnected, identityOf, planeParts, planeServer, RosterBook, until } from "./planes.ts"
import { stateOf } from "./signed.ts"

/** More than both waiting rooms hold together. */
const JUNK = 400
/** Garbage as a stranger sends it: noise, and the beginning of what is right. */
const garbage = [
  Buffer.alloc(4_096, 0x9b),
  Buffer.from("GET / HTTP/1.1\r\n\r\n"),
  Buffer.from("\x13/multistream/1.0.0\n\x14/imagegrid/noise/1\n"),
]

/** Opens all of them, and resolves when each is open or was refused. The server closes them when it likes. */
async function openJunk(to: Address, from: string, first: Buffer | null): Promise<Set<Socket>> {
  const open = new Set<Socket>()
  const started = Array.from({ length: JUNK }, () => {
    const socket = connect({ ...to, localAddress: from })
    open.add(socket)
    return new Promise((resolve) => {
      socket.on("connect", () => {
        if (first !== null) socket.write(first)
        resolve(null)
      })
      socket.on("error", () => undefined)
      socket.on("close", () => {
        open.delete(socket)
        resolve(null)
      })
    })
  })
  await Promise.all(started)
  return open
}

for (const [whence, from] of [
  ["elsewhere", "127.0.0.66"],
  // As one that shares the address of a server, behind one translation of addresses or on one machine.
  ["the address of a server of the roster", "127.0.0.1"],
] as const)
  test(`${JUNK} half-open connections and three times as many with garbage from ${whence} do not keep an honest server out`, async () => {
    await using stack = new AsyncDisposableStack()
    const book = new RosterBook()
    const plane = stack.use(await Plane.open(planeParts(identityOf(0), book), { listen: anywhere }))
    const honestBook = new RosterBook()
    const honest = stack.use(await Plane.open(planeParts(identityOf(1), honestBook), { listen: anywhere }))
    plane.publish("state", stateOf(1))
    // The plane does not dial the other one: port 9 is nobody's, but its host is one of the roster.
    book.set([planeServer(identityOf(1), [{ host: "127.0.0.1", port: 9 }])])

    const halfOpen = await openJunk(plane.address, from, null)
    stack.defer(() => halfOpen.forEach((socket) => socket.destroy()))
    const withGarbage = await Promise.all(garbage.map((bytes) => openJunk(plane.address, from, bytes)))
    stack.defer(() => withGarbage.forEach((sockets) => sockets.forEach((socket) => socket.destroy())))
    honestBook.set([planeServer(identityOf(0), [plane.address])])
    await until([plane, honest], () => areConnected([plane, honest]) && honest.documents.vector().length === 1)
    // Of the junk so few are kept, once the ends here have heard of it.
    const kept = () => [halfOpen, ...withGarbage].reduce((sum, sockets) => sum + sockets.size, 0)
    while (kept() > 256 + 64) await setTimeout(50)
  })
