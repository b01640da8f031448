import assert from "node:assert/strict"
import { test } from "node:test"
import { setTimeout } from "node:timers/promises"
import { encode } from "cborg"
import { systemClock } from "#core/clock.ts"
import { planeKeyOf } from "#crypto/plane-key.ts"
import { writeHint, writeMessage, type ExchangeMessage } from "#grid/core/messages.ts"
import type { Channel } from "#grid/exchange.ts"
import { PlaneNode, type NodeEvents } from "#grid/libp2p/plane-node.ts"
import { Plane } from "#grid/plane.ts"
import { anywhere, cineca, identityOf, networkKey, planeParts, planeServer, RosterBook, silentPlaneLog, until } from "./planes.ts"
import { setOf, signed, stateOf } from "./signed.ts"

const [honest, rogue, third] = [identityOf(0), identityOf(1), identityOf(2)]

/** A server of the roster that says what the test makes it say, and a plane that it is connected to. */
async function meet(stack: AsyncDisposableStack, behaviour: Partial<NodeEvents> = {}) {
  const breaches: object[] = []
  const warn = (fields: object, event: string) => event === "server of the grid breaks the protocol" && breaches.push(fields)
  const { promise: turnedAway, resolve: turnAway } = Promise.withResolvers<null>()
  const debug = (_: object, event: string) => event === "connection refused" && turnAway(null)
  const book = new RosterBook()
  const { promise: met, resolve } = Promise.withResolvers<null>()
  const node = await PlaneNode.open(
    {
      memberId: rogue.memberId,
      site: cineca,
      signing: rogue.signing,
      planeKeysOf: (site) => [planeKeyOf(networkKey(site))],
      clock: systemClock,
      log: silentPlaneLog,
      random: Math.random,
      nowMs: () => performance.now(),
    },
    { up: () => resolve(null), down: () => undefined, exchange: async () => undefined, hinted: () => "keep", ...behaviour },
    anywhere,
  )
  stack.defer(() => node.close())
  // A third that is known and away.
  book.set([planeServer(rogue, [node.address]), planeServer(third, [])])
  const plane = stack.use(await Plane.open(planeParts(honest, book, { log: { ...silentPlaneLog, debug, warn } }), { listen: anywhere }))
  plane.publish("state", stateOf(1))
  node.setRoster([planeServer(honest, [plane.address])])
  const isConnected = () => plane.peers().some(({ memberId, isConnected: is }) => memberId === rogue.memberId && is)
  const connected = async () => {
    await met
    await until([plane], isConnected)
  }
  return { plane, node, book, breaches, turnedAway, isConnected, connected }
}

const theirs = setOf([rogue, third], [signed(third, 5, stateOf(1))]).vector()
const forged = { ...signed(third, 5, stateOf(1)), signature: Buffer.alloc(64) }

for (const [what, said] of [
  [
    "a forged document",
    [
      { is: "vector", vector: theirs },
      { is: "documents", documents: [forged] },
    ],
  ],
  [
    "a document that was not asked for",
    [
      { is: "vector", vector: theirs },
      { is: "documents", documents: [signed(rogue, 5, stateOf(1))] },
    ],
  ],
  ["bytes that are no message", [Buffer.from("GET / HTTP/1.1")]],
  ["a message that is too long", [Buffer.alloc(1024 * 1024 + 1)]],
  ["a message out of turn", [{ is: "want", wants: [] }]],
] satisfies [string, (ExchangeMessage | Uint8Array)[]][])
  test(`a server that answers with ${what} is cut off and not believed`, async () => {
    await using stack = new AsyncDisposableStack()
    const { plane, breaches, isConnected } = await meet(stack, {
      async exchange(_, channel) {
        for (const message of said) {
          await channel.receive()
          await channel.send(message instanceof Uint8Array ? message : writeMessage(message))
        }
        // Until it is cut off.
        await channel.receive()
      },
    })
    await until([plane], () => breaches.length === 1 && !isConnected())
    assert.deepEqual(
      plane.documents.vector().map(({ memberId }) => memberId),
      [honest.memberId],
    )
  })

test("a server that opens an exchange and breaks the protocol in it is cut off, and turned away when it comes back", async () => {
  await using stack = new AsyncDisposableStack()
  const { plane, node, breaches, isConnected, connected, turnedAway } = await meet(stack)
  await connected()
  const talk = async (channel: Channel) => {
    await channel.send(encode(["nonsense"]))
    await channel.receive()
  }
  await assert.rejects(node.exchange(honest.memberId, AbortSignal.timeout(10_000), talk))
  await until([plane], () => breaches.length === 1 && !isConnected())
  await turnedAway
  assert.ok(!isConnected())
})

test("of the exchanges in which a server says nothing few are open, and those with others go on", async () => {
  await using stack = new AsyncDisposableStack()
  const { plane, node, book, connected } = await meet(stack)
  await connected()
  const closing = new AbortController()
  const silence = async (channel: Channel) => {
    await channel.send(writeMessage({ is: "hello", summary: Buffer.alloc(32) }))
    await channel.receive()
    await channel.receive()
  }
  const { promise: refused, resolve } = Promise.withResolvers<null>()
  let refusals = 0
  const exchanges = Array.from({ length: 6 }, () =>
    node.exchange(honest.memberId, closing.signal, silence).catch(() => {
      refusals += 1
      if (refusals === 4) resolve(null)
    }),
  )
  await refused
  const other = stack.use(await Plane.open(planeParts(third, book), { listen: anywhere }))
  other.publish("state", stateOf(3))
  book.put(planeServer(honest, [plane.address]))
  book.put(planeServer(third, [other.address]))
  await until([plane, other], () => plane.documents.get(third.memberId, "state") !== null)
  assert.equal(refusals, 4)
  closing.abort()
  await Promise.all(exchanges)
})

/** Counts the exchanges that the honest end opens, and says in each that both have the same. */
function countExchanges(): { opened: number; readonly exchange: NodeEvents["exchange"] } {
  const count = {
    opened: 0,
    exchange: async (_: unknown, channel: Channel) => {
      count.opened += 1
      await channel.receive()
      await channel.send(writeMessage({ is: "same" }))
    },
  }
  return count
}

/** The rogue's documents are never heard, so every hint is news. */
const hint = (count: number): Uint8Array => writeHint(1_000 + count)

test("hints that come without pause bring few exchanges, and who brings very many is cut off", async () => {
  await using stack = new AsyncDisposableStack()
  const exchanges = countExchanges()
  const { node, breaches, isConnected, connected } = await meet(stack, { exchange: exchanges.exchange })
  await connected()
  for (let count = 0; isConnected(); count += 1) {
    await node.gossip(hint(count))
    if (count % 50 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  assert.ok(exchanges.opened < 50, `${exchanges.opened} exchanges`)
  assert.equal(breaches.length, 1)
})

test("hints out of form bring no exchange, and the next right one does", async () => {
  await using stack = new AsyncDisposableStack()
  const exchanges = countExchanges()
  const { node, connected } = await meet(stack, { exchange: exchanges.exchange })
  await connected()
  // What connecting brings.
  await setTimeout(500)
  const before = exchanges.opened
  for (const bytes of [Buffer.from("hello"), encode([1, "../etc", 1]), encode([-1]), Buffer.alloc(60_000)]) await node.gossip(bytes)
  await setTimeout(1_000)
  assert.equal(exchanges.opened, before)
  for (let count = 0; exchanges.opened === before; count += 1) {
    await node.gossip(hint(count))
    await setTimeout(50)
  }
})
