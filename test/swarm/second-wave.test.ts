import assert from "node:assert/strict"
import { test } from "node:test"
import { Bench } from "./played-peers.ts"

const PIECES = 6

/** A newcomer wants something, takes all that it is proposed in its turns, and goes with it. */
function takeAndGo(bench: Bench, peer: number): number[] {
  bench.connect(peer, "none")
  bench.say(peer, { type: "interested" })
  for (let told = 0; told < PIECES; told += 1) {
    const piece = bench.proposed(peer)[told]
    if (piece !== undefined) bench.say(peer, { type: "have", piece })
    bench.pass(100)
  }
  bench.step({ kind: "gone", peer })
  return bench.proposed(peer).toSorted((a, b) => a - b)
}

const EACH_ONCE = Array.from({ length: PIECES }, (_, piece) => piece)

test("an origin proposes each piece once to those who come, and once again to those who come when all of them have gone", () => {
  const bench = new Bench({ pieces: PIECES, held: "all" })
  assert.deepEqual(takeAndGo(bench, 1), EACH_ONCE)
  assert.deepEqual(takeAndGo(bench, 2), EACH_ONCE)
})

test("while somebody who was sent pieces is still there, they are not proposed again; servers that have everything do not count", () => {
  const bench = new Bench({ pieces: PIECES, held: "all" })
  bench.connect(9, "all", { role: "server" })
  bench.connect(8, "all", { role: "client" })
  assert.deepEqual(takeAndGo(bench, 1), EACH_ONCE)
  assert.deepEqual(takeAndGo(bench, 2), [])
  bench.step({ kind: "gone", peer: 8 })
  assert.deepEqual(takeAndGo(bench, 3), EACH_ONCE)
})

test("who has downloaded it and is left alone proposes as an origin does", () => {
  const bench = new Bench({ pieces: PIECES })
  bench.connect(1, "all")
  bench.finish([1])
  assert.equal(bench.core.complete, true)
  assert.deepEqual(takeAndGo(bench, 2), [], "there is another")
  bench.step({ kind: "gone", peer: 1 })
  assert.deepEqual(takeAndGo(bench, 3), EACH_ONCE)
})
