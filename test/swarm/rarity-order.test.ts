import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { seededRandom } from "#swarm/core/random.ts"
import { RarityOrder } from "#swarm/core/rarity-order.ts"

const PIECES = 12

test("the rarest wanted piece is found after any changes, as a plain search finds it", () => {
  const change = fc.record({ kind: fc.constantFrom("insert", "remove", "raise", "lower"), piece: fc.nat(PIECES - 1) })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 200, size: "max" }), fc.nat(0xfff), fc.integer(), (changes, wantedBits, seed) => {
      const order = new RarityOrder(PIECES)
      const counts = Array.from({ length: PIECES }, () => 0)
      const present = new Set<number>()
      for (const { kind, piece } of changes) {
        const count = counts[piece] ?? 0
        if (kind === "insert" && !present.has(piece)) {
          order.insert(piece, count)
          present.add(piece)
        } else if (kind === "remove" && present.delete(piece)) order.remove(piece, count)
        else if (kind === "raise") {
          order.raise(piece, count)
          counts[piece] = count + 1
        } else if (kind === "lower" && count > 0) {
          order.lower(piece, count)
          counts[piece] = count - 1
        }
      }
      const wanted = (piece: number) => (wantedBits & (1 << piece)) !== 0
      const candidates = [...present].filter(wanted)
      const found = order.rarest(wanted, seededRandom(seed))
      assert.equal(order.size, present.size)
      if (candidates.length === 0) assert.equal(found, null)
      else assert.equal(counts[found ?? -1], Math.min(...candidates.map((piece) => counts[piece] ?? 0)))
      if (found !== null) assert.ok(candidates.includes(found))
    }),
    { numRuns: 300 },
  )
})

test("equally rare pieces are chosen in another order under another seed", () => {
  const chosen = (seed: number) => {
    const order = new RarityOrder(64)
    for (let piece = 0; piece < 64; piece += 1) order.insert(piece, 1)
    const random = seededRandom(seed)
    return Array.from({ length: 64 }, () => {
      const piece = order.rarest(() => true, random) ?? -1
      order.remove(piece, 1)
      return piece
    })
  }
  assert.deepEqual(chosen(1), chosen(1))
  assert.notDeepEqual(chosen(1), chosen(2))
  assert.deepEqual(
    chosen(2).toSorted((a, b) => a - b),
    Array.from({ length: 64 }, (_, piece) => piece),
  )
})
