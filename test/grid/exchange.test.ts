import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import type { MemberId } from "#core/identifiers.ts"
import type { DocumentSet } from "#grid/core/document-set.ts"
import { documentKinds, type ServerDocument } from "#grid/core/documents.ts"
import { readMessage, writeMessage, type ExchangeMessage } from "#grid/core/messages.ts"
import { answerExchange, openExchange, type Channel } from "#grid/exchange.ts"
import { identityOf } from "./planes.ts"
import { holdingsOf, setOf, signed, stateOf } from "./signed.ts"

const servers = [0, 1, 2].map(identityOf)
const [a, b, c] = servers as [(typeof servers)[0], (typeof servers)[0], (typeof servers)[0]]

/** Both ends of a channel in memory. What is said is written down. */
function channelPair(): { readonly ends: readonly [Channel, Channel]; readonly said: string[] } {
  const said: string[] = []
  const queues = [queueOf(), queueOf()] as const
  const end = (own: 0 | 1): Channel => ({
    async send(message) {
      said.push(`${own} ${readMessage(message).is}`)
      queues[own === 0 ? 1 : 0].put(message)
    },
    receive: () => queues[own].take(),
  })
  return { ends: [end(0), end(1)], said }
}

function queueOf() {
  const waiting: Uint8Array[] = []
  const takers: ((message: Uint8Array) => void)[] = []
  return {
    put(message: Uint8Array) {
      const taker = takers.shift()
      if (taker === undefined) waiting.push(message)
      else taker(message)
    },
    take: () =>
      new Promise<Uint8Array>((resolve) => (waiting.length > 0 ? resolve(waiting.shift() ?? Buffer.alloc(0)) : takers.push(resolve))),
  }
}

const partsOf = (documents: DocumentSet, taken: ServerDocument[] = [], visible: (id: MemberId) => boolean = () => true) => ({
  documents,
  visible,
  onTaken: (document: ServerDocument) => taken.push(document),
})

async function exchange(one: DocumentSet, other: DocumentSet): Promise<{ said: string[]; isMore: boolean }> {
  const { ends, said } = channelPair()
  const [isMore] = await Promise.all([openExchange(ends[0], partsOf(one)), answerExchange(ends[1], partsOf(other))])
  return { said, isMore }
}

/** A peer that answers as the test says, one message for each that comes. */
async function against(documents: DocumentSet, answers: readonly (ExchangeMessage | Uint8Array)[]): Promise<unknown> {
  const left = [...answers]
  const channel: Channel = {
    send: async () => undefined,
    receive: async () => {
      const next = left.shift() ?? assert.fail("nothing more was to be asked")
      return next instanceof Uint8Array ? next : writeMessage(next)
    },
  }
  return openExchange(channel, partsOf(documents))
}

test("two that have the same say so in two messages", async () => {
  const [one, other] = [setOf(servers, [signed(a, 5, stateOf(1))]), setOf(servers, [signed(a, 5, stateOf(1))])]
  assert.deepEqual(await exchange(one, other), { said: ["0 hello", "1 same"], isMore: false })
})

test("an exchange brings both what they lack, and tells of each document once", async () => {
  const [one, other] = [
    setOf(servers, [signed(a, 5, stateOf(1)), signed(b, 4, stateOf(1))]),
    setOf(servers, [signed(b, 5, stateOf(2)), signed(c, 1, holdingsOf("3", 7), "holdings/3")]),
  ]
  const [takenHere, takenThere]: [ServerDocument[], ServerDocument[]] = [[], []]
  const { ends } = channelPair()
  await Promise.all([openExchange(ends[0], partsOf(one, takenHere)), answerExchange(ends[1], partsOf(other, takenThere))])
  assert.deepEqual(one.vector(), other.vector())
  assert.deepEqual(takenHere.map(({ memberId }) => memberId).sort(), [b.memberId, c.memberId].sort())
  assert.deepEqual(
    takenThere.map(({ memberId }) => memberId),
    [a.memberId],
  )
})

test("documents of many megabytes come in messages of one at most", async () => {
  const large = documentKinds.filter((kind) => kind !== "state").map((kind) => signed(a, 5, holdingsOf(kind.slice(-1), 13_107), kind))
  const [one, other] = [setOf(servers), setOf(servers, large)]
  const { said, isMore } = await exchange(one, other)
  assert.deepEqual(one.vector(), other.vector())
  assert.equal(isMore, false)
  // Three of a quarter of a megabyte each time, as writeMessage refuses a larger message.
  assert.equal(said.filter((message) => message === "1 documents").length, 6)
})

test("sets that exchange in any order of pairs come to hold the same", async () => {
  const someDocument = fc.record({ server: fc.nat(2), seq: fc.integer({ min: 1, max: 4 }), variant: fc.nat(2) })
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(someDocument, { maxLength: 5 }), { minLength: 4, maxLength: 4 }),
      fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }),
      async (documents, ring) => {
        const sets = documents.map((ones) =>
          setOf(
            servers,
            ones.map(({ server, seq, variant }) => signed(servers[server] ?? a, seq, stateOf(variant))),
          ),
        )
        for (let turn = 0; turn < 2; turn += 1)
          for (const [at, first] of ring.entries())
            await exchange(sets[first] ?? assert.fail(), sets[ring[(at + 1) % ring.length] ?? 0] ?? assert.fail())
        for (const set of sets) assert.deepEqual(set.vector(), sets[0]?.vector())
      },
    ),
    { numRuns: 50 },
  )
})

test("what the other is not to see is neither told nor given, and an equal rest is the same", async () => {
  const one = setOf(servers, [signed(a, 5, stateOf(1)), signed(c, 5, stateOf(1))])
  const other = setOf(servers, [signed(a, 5, stateOf(1))])
  const { ends, said } = channelPair()
  const visible = (id: MemberId) => id !== c.memberId
  await Promise.all([openExchange(ends[0], partsOf(one, [], visible)), answerExchange(ends[1], partsOf(other, [], visible))])
  assert.deepEqual(said, ["0 hello", "1 same"])
  // Who asks all the same gets nothing.
  const asked: ExchangeMessage[] = []
  const questions: ExchangeMessage[] = [
    { is: "hello", summary: Buffer.alloc(32) },
    { is: "vector", vector: [] },
    { is: "want", wants: [{ memberId: c.memberId, kind: "state" }] },
    { is: "want", wants: [] },
  ]
  const asking: Channel = {
    send: async (message) => void asked.push(readMessage(message)),
    receive: async () => writeMessage(questions.shift() ?? assert.fail()),
  }
  await answerExchange(asking, partsOf(one, [], visible))
  assert.deepEqual(
    asked.map((message) => (message.is === "documents" ? message.documents : message.is)),
    ["vector", [], "want"],
  )
})

test("a forged document, one that was not asked for, and one twice are a breach; what came before is kept", async () => {
  const theirs = setOf(servers, [signed(a, 5, stateOf(1)), signed(b, 5, stateOf(1))]).vector()
  const [good, forged] = [signed(a, 5, stateOf(1)), { ...signed(b, 5, stateOf(1)), signature: Buffer.alloc(64) }]
  for (const documents of [
    [good, forged],
    [good, signed(c, 5, stateOf(1))],
    [good, good],
  ]) {
    const set = setOf(servers)
    await assert.rejects(
      against(set, [
        { is: "vector", vector: theirs },
        { is: "documents", documents },
      ]),
      { code: "PEER_MISBEHAVED" },
    )
    assert.deepEqual(
      set.vector().map(({ memberId }) => memberId),
      [a.memberId],
    )
  }
})

test("messages out of turn, and bytes out of form, are a breach", async () => {
  const vector: ExchangeMessage = { is: "vector", vector: setOf(servers, [signed(a, 5, stateOf(1))]).vector() }
  for (const answers of [
    [{ is: "want", wants: [] }],
    [vector, { is: "same" }],
    [vector, { is: "documents", documents: [] }, { is: "hello", summary: Buffer.alloc(32) }],
    [Buffer.from("hello")],
  ] satisfies (ExchangeMessage | Uint8Array)[][])
    await assert.rejects(against(setOf(servers), answers), { code: "PEER_MISBEHAVED" })
})

test("a peer that promises and gives nothing is asked once", async () => {
  const set = setOf(servers)
  const promised = setOf(servers, [signed(a, 5, stateOf(1))]).vector()
  const isMore = await against(set, [
    { is: "vector", vector: promised },
    { is: "documents", documents: [] },
    { is: "want", wants: [] },
  ])
  assert.equal(isMore, false)
  assert.deepEqual(set.vector(), [])
})

test("a peer that asks without end is given up", async () => {
  const set = setOf(servers, [signed(a, 5, stateOf(1))])
  const want: ExchangeMessage = { is: "want", wants: [{ memberId: a.memberId, kind: "state" }] }
  await assert.rejects(against(set, [{ is: "vector", vector: [] }, ...Array.from({ length: 100 }, () => want)]), {
    code: "PEER_MISBEHAVED",
  })
})

test("a document that its server replaced during the exchange is no breach: the newer one comes", async () => {
  const set = setOf(servers)
  const promised = setOf(servers, [signed(a, 5, stateOf(1))]).vector()
  await against(set, [
    { is: "vector", vector: promised },
    { is: "documents", documents: [signed(a, 6, stateOf(2))] },
    { is: "want", wants: [] },
  ])
  assert.equal(set.newestSeqOf(a.memberId), 6)
})
