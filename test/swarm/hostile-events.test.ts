import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { CoreEvent, SiteNews } from "#swarm/core/events.ts"
import type { SiteMember } from "#swarm/core/gateways.ts"
import type { BlockSpan, Message } from "#swarm/core/messages.ts"
import { Bench } from "./played-peers.ts"

const PIECES = 5
const PEERS = 3

const pieceNumber = fc.oneof({ weight: 9, arbitrary: fc.nat(PIECES) }, { weight: 1, arbitrary: fc.nat(0xffffffff) })
const offset = fc.constantFrom(0, BLOCK_BYTES, 2 * BLOCK_BYTES, 3 * BLOCK_BYTES, 4 * BLOCK_BYTES, 1, 0xffffffff)
const length = fc.oneof({ weight: 9, arbitrary: fc.constant(BLOCK_BYTES) }, { weight: 1, arbitrary: fc.nat(0xffffffff) })
const span = { piece: pieceNumber, offset, length }
const message: fc.Arbitrary<Message<string>> = fc.oneof(
  fc.record({
    type: fc.constantFrom("keep-alive", "choke", "unchoke", "interested", "not-interested", "have-all", "have-none"),
  }),
  fc.record({ type: fc.constantFrom("have", "suggest", "allowed-fast"), piece: pieceNumber }),
  fc.record({ type: fc.constant("bitfield" as const), bits: fc.uint8Array({ maxLength: 2 }) }),
  fc.record({ type: fc.constantFrom("request", "cancel", "reject"), ...span }),
  fc.record({ type: fc.constant("block" as const), ...span, block: fc.constant("x") }),
)

const siteMember: fc.Arbitrary<SiteMember> = fc.record({
  key: fc.constantFrom("member 0", "member 1", "member 2", "another"),
  server: fc.boolean(),
  duty: fc.constantFrom("holds", "fetches", "none"),
  address: fc.constantFrom(null, { host: "192.0.2.1", port: 1 }),
  quietMs: fc.nat(20_000),
  sentBytesPerSecond: fc.nat(0xffffffff),
})
const siteNews: fc.Arbitrary<SiteNews> = fc.record({
  members: fc.option(fc.array(siteMember, { maxLength: 4 })),
  crossing: fc.array(pieceNumber, { maxLength: 4 }),
  budgetBytesPerSecond: fc.constantFrom(null, null, 1, 1e9),
})

/** What peers may do, rightly or wrongly: numbers refer to what is open at that moment. */
type Deed =
  | { readonly kind: "connect"; readonly pieces: "all" | "none"; readonly site: "here" | "there" }
  | { readonly kind: "site-news"; readonly peer: number; readonly news: SiteNews }
  | { readonly kind: "say"; readonly peer: number; readonly message: Message<string> }
  | { readonly kind: "answer"; readonly peer: number; readonly how: "block" | "reject" }
  | { readonly kind: "leave"; readonly peer: number }
  | { readonly kind: "verdict"; readonly how: "stored" | "corrupt" | "failed" }
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "window"; readonly piece: number }
  | { readonly kind: "forget"; readonly peer: number; readonly piece: number }
const peer = fc.nat(PEERS - 1)
const deed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("connect" as const),
      pieces: fc.constantFrom("all", "none"),
      site: fc.constantFrom("here", "here", "there"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("site-news" as const), peer, news: siteNews }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("say" as const), peer, message }) },
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant("answer" as const), peer, how: fc.constantFrom("block", "block", "block", "reject") }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("leave" as const), peer }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("verdict" as const), how: fc.constantFrom("stored", "stored", "corrupt", "failed") }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.constantFrom(100, 1_000, 6_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("window" as const), piece: fc.nat(PIECES - 1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("forget" as const), peer, piece: pieceNumber }) },
)

test("whatever peers do, in whatever order, the core does not throw, and its books balance", () => {
  fc.assert(
    fc.property(
      fc.array(deed, { maxLength: 120, size: "max" }),
      fc.integer(),
      fc.constantFrom("leecher", "holder", "window"),
      (deeds, seed, role) => {
        const how = { leecher: {}, holder: { held: "all" }, window: { window: { aheadPieces: 2, behindPieces: 1 } } } as const
        const bench = new Bench({ pieces: PIECES, seed, ...how[role] })
        const open: number[] = []
        const verifying: number[] = []
        const asked = new Map<number, BlockSpan[]>()
        let next = 1
        const step = (event: CoreEvent<string>) => {
          for (const effect of bench.step(event)) {
            if ("peer" in effect && effect.kind !== "disconnect")
              assert.ok(open.includes(effect.peer), `${effect.kind} to a peer that is gone`)
            if (effect.kind === "disconnect") open.splice(open.indexOf(effect.peer), 1)
            if (effect.kind === "verify") verifying.push(effect.piece)
            if (effect.kind === "send" && effect.message.type === "request")
              asked.set(effect.peer, [...(asked.get(effect.peer) ?? []), effect.message])
          }
          const { missing, partial, verifying: verified, held } = bench.core.census()
          assert.equal(missing + partial + verified + held, PIECES)
          assert.ok(role === "window" ? bench.core.held.count <= 3 : bench.core.held.count === held)
          assert.equal(verified, verifying.length)
          assert.equal(bench.core.peerCount, open.length)
        }
        for (const each of deeds) {
          const number = "peer" in each ? (open[each.peer % Math.max(1, open.length)] ?? 0) : 0
          if (each.kind === "connect" && open.length < PEERS) {
            open.push(next)
            step({ kind: "connected", peer: next, key: `member ${next % 7}`, role: "client", site: each.site, dialled: null })
            if (open.includes(next))
              step({ kind: "message", peer: next, message: { type: each.pieces === "all" ? "have-all" : "have-none" } })
            if (open.includes(next)) step({ kind: "message", peer: next, message: { type: "unchoke" } })
            next += 1
          } else if (each.kind === "site-news") step({ kind: "site-news", peer: number, news: each.news })
          else if (each.kind === "forget") step({ kind: "dont-have", peer: number, piece: each.piece })
          else if (each.kind === "say") step({ kind: "message", peer: number, message: each.message })
          else if (each.kind === "answer") {
            const request = asked.get(number)?.shift()
            if (request === undefined) continue
            const { piece, offset: at, length: bytes } = request
            const answer = { piece, offset: at, length: bytes }
            step({
              kind: "message",
              peer: number,
              message: each.how === "block" ? { type: "block", ...answer, block: "x" } : { type: "reject", ...answer },
            })
          } else if (each.kind === "leave" && open.includes(number)) {
            open.splice(open.indexOf(number), 1)
            step({ kind: "gone", peer: number })
          } else if (each.kind === "verdict") {
            const piece = verifying.shift()
            if (piece === undefined) continue
            if (each.how === "stored") step({ kind: "piece-stored", piece, wrongBlocks: [0, 1, 2, 3, 9] })
            else step({ kind: each.how === "corrupt" ? "piece-corrupt" : "store-failed", piece })
          } else if (each.kind === "window") step({ kind: "window", firstPiece: each.piece })
          else if (each.kind === "pass")
            for (let passed = 0; passed < each.ms; passed += 100) {
              bench.nowMs += 100
              step({ kind: "tick" })
            }
        }
        // Once all are gone, nothing is on its way any more.
        for (let left = open.shift(); left !== undefined; left = open.shift()) step({ kind: "gone", peer: left })
        const { inFlight, unchoked } = bench.core.census()
        assert.deepEqual({ inFlight, unchoked }, { inFlight: 0, unchoked: 0 })
      },
    ),
    { numRuns: 300 },
  )
})
