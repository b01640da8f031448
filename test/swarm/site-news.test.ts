import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { GridError } from "#core/errors.ts"
import type { SiteNews } from "#swarm/core/events.ts"
import type { SiteMember } from "#swarm/core/gateways.ts"
import { defaultLimits } from "#swarm/core/limits.ts"
import { decodePeerExchange, encodePeerExchange } from "#swarm/extensions.ts"
import { decodeSiteNews, encodeSiteNews } from "#swarm/site-news.ts"

const misbehaved = (error: unknown): boolean => error instanceof GridError && error.code === "PEER_MISBEHAVED"

function member(fields: Partial<SiteMember> = {}): SiteMember {
  return {
    key: "0123456789abcdef0123456789abcdef",
    server: false,
    duty: "none",
    address: null,
    quietMs: 0,
    sentBytesPerSecond: 0,
    ...fields,
  }
}

test("news of a site come out as they went in", () => {
  const members = [
    member({ duty: "holds", server: true, address: { host: "192.0.2.7", port: 7401 } }),
    member({ duty: "fetches", quietMs: 12_340, sentBytesPerSecond: 3_000_000_000 }),
    member({ sentBytesPerSecond: 1 }),
  ]
  for (const news of [
    { members, crossing: [0, 70_000, 0xffffffff], budgetBytesPerSecond: 5_000_000 },
    { members: [], crossing: [], budgetBytesPerSecond: null },
    { members: null, crossing: [1], budgetBytesPerSecond: null },
  ] satisfies SiteNews[])
    assert.deepEqual(decodeSiteNews(encodeSiteNews(news)), news)
})

test("what does not fit its field is told as nearly as can be: ages, rates, addresses that are not of IPv4", () => {
  const members = [
    member({ duty: "fetches", quietMs: 1e9, sentBytesPerSecond: 1e12, address: { host: "seed.example", port: 7401 } }),
    member({ duty: "fetches", quietMs: 17.4 }),
  ]
  const told = decodeSiteNews(encodeSiteNews({ members, crossing: [], budgetBytesPerSecond: 1.5 }))
  assert.deepEqual(told.members, [
    member({ duty: "fetches", quietMs: 655_350, sentBytesPerSecond: 0xffffffff }),
    member({ duty: "fetches", quietMs: 20 }),
  ])
  assert.equal(told.budgetBytesPerSecond, 1)
})

const most = { claims: "c", siteMembersTold: "m" } as const
for (const [what, text] of [
  ["no dictionary", "le"],
  ["no pieces", "d1:m0:e"],
  ["a part of a piece's number", "d1:c3:abce"],
  ["a part of a member", "d1:c0:1:m28:0123456789012345678901234567e"],
  ["members that are a number", "d1:c0:1:mi1ee"],
  ["more behind it", "d1:c0:ei1e"],
  ["more pieces than one may claim", `d1:${most.claims}${4 * (defaultLimits.claims + 1)}:${"x".repeat(4 * (defaultLimits.claims + 1))}e`],
  [
    "more members than are told at a time",
    `d1:c0:1:${most.siteMembersTold}${29 * (defaultLimits.siteMembersTold + 1)}:${"x".repeat(29 * (defaultLimits.siteMembersTold + 1))}e`,
  ],
] as const)
  test(`news of a site with ${what} are refused`, () => {
    assert.throws(() => decodeSiteNews(Buffer.from(text)), misbehaved)
  })

test("a budget of nothing, of less or of a word is none", () => {
  for (const budget of ["i0e", "i-5e", "3:all"]) assert.equal(decodeSiteNews(Buffer.from(`d1:b${budget}1:c0:e`)).budgetBytesPerSecond, null)
})

test("random bytes are read as news, or refused", () => {
  const nearly = fc.array(fc.constantFrom("d", "e", "1:c", "1:m", "1:b", "0:", "4:", "29:", "i1e", "abcd", "x".repeat(29)), {
    maxLength: 12,
  })
  fc.assert(
    fc.property(nearly, (parts) => {
      try {
        const { members, crossing } = decodeSiteNews(Buffer.from(parts.join("")))
        assert.ok((members?.length ?? 0) <= defaultLimits.siteMembersTold && crossing.length <= defaultLimits.claims)
      } catch (error) {
        assert.ok(misbehaved(error), String(error))
      }
    }),
    { numRuns: 1_000 },
  )
})

test("peer exchange says who is of the receiver's site and who of another; what is not said is unknown", () => {
  const at = (port: number) => ({ host: "192.0.2.7", port })
  const unfit = { host: "seed.example", port: 7401 }
  assert.deepEqual(decodePeerExchange(encodePeerExchange([at(1), unfit, at(2)], [unfit, at(3)], [at(4)])), {
    near: [at(1), at(2)],
    far: [at(3)],
    unknown: [],
  })
  const added = "\u00c0\u0000\u0002\u0007\u0000\u0001"
  const seeds = Buffer.from(`d5:added6:${added}7:added.f1:\u0002e`, "latin1")
  assert.deepEqual(decodePeerExchange(seeds), { near: [], far: [], unknown: [at(1)] })
  assert.throws(() => decodePeerExchange(Buffer.from(`d5:added6:${added}7:added.f2:\u0080\u0080e`, "latin1")), misbehaved)
})
