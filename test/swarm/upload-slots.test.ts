import assert from "node:assert/strict"
import test from "node:test"
import { Bitfield } from "#swarm/core/bitfield.ts"
import { defaultLimits, type Limits } from "#swarm/core/limits.ts"
import { PeerState } from "#swarm/core/peer-state.ts"
import { seededRandom } from "#swarm/core/random.ts"
import { UploadSlots } from "#swarm/core/upload-slots.ts"

const PIECE_BYTES = 64 * 1024

function slotsWith(options: Partial<Limits>, origin = true): UploadSlots {
  return new UploadSlots({ ...defaultLimits, ...options }, { pieceBytes: PIECE_BYTES, origin, random: seededRandom(1), nowMs: 0 })
}

function peerWith(number: number, pieces: number, near = true): PeerState {
  const have = new Bitfield(8)
  for (let piece = 0; piece < pieces; piece += 1) have.set(piece)
  const common = { key: `member ${number}`, role: "client", dialled: null, have, forgottenBefore: 0 } as const
  return new PeerState(number, { ...common, site: near ? "here" : "there", near }, 0, 0)
}

function giveAll(slots: UploadSlots): PeerState[] {
  const given: PeerState[] = []
  for (let peer = slots.give(); peer !== null; peer = slots.give()) given.push(peer)
  return given
}

test("an origin serves few at a time, first of all who has least", () => {
  const slots = slotsWith({ originSlotsMin: 2, slotDraws: 64 })
  for (let number = 0; number < 6; number += 1) slots.wait(peerWith(number, 6 - number))
  const [first = assert.fail(), ...rest] = giveAll(slots)
  assert.deepEqual(
    [first, ...rest].map((peer) => peer.number),
    [5, 4],
  )
  assert.ok(slots.wantedOf(peerWith(99, 0)))
  slots.takeBack(first)
  assert.equal(slots.give()?.number, 3)
})

test("who made something of a turn has a slot to itself beside those who never did, however many come", () => {
  const slots = slotsWith({ originSlotsMin: 4, originSlotsMax: 4 })
  for (let number = 1; number <= 100; number += 1) slots.wait(peerWith(number, 0))
  const honest = peerWith(0, 4)
  honest.usedTurns = 1
  for (let turn = 0; turn < 20; turn += 1) {
    slots.wait(honest)
    const given = giveAll(slots)
    // The others keep what they were given; from then on what becomes free is its own.
    assert.deepEqual(turn === 0 ? given.includes(honest) : given, turn === 0 || [honest])
    slots.takeBack(honest)
  }
})

test("a newcomer is served before those who were served already", () => {
  const slots = slotsWith({ originSlotsMin: 1 })
  for (let number = 1; number <= 100; number += 1) {
    const peer = peerWith(number, 0)
    peer.usedTurns = 3
    slots.wait(peer)
  }
  const newcomer = peerWith(0, 1)
  slots.wait(newcomer)
  assert.equal(slots.give(), newcomer)
})

test("a downloader serves all that it knows at once", () => {
  const slots = slotsWith({}, false)
  for (let number = 0; number < defaultLimits.connectionsTaken; number += 1) slots.wait(peerWith(number, 0))
  assert.equal(giveAll(slots).length, defaultLimits.connectionsTaken)
  assert.ok(!slots.wantedOf(peerWith(99, 0)))
})

test("a fast origin has slots for all that is on its way", () => {
  const slots = slotsWith({})
  for (let number = 0; number < 40; number += 1) slots.wait(peerWith(number, 0))
  assert.equal(giveAll(slots).length, defaultLimits.originSlotsMin)
  for (let nowMs = 100; nowMs <= 3_000; nowMs += 100) {
    slots.sent(32 * PIECE_BYTES * 0.1 * (1_000 / defaultLimits.slotsFillMs))
    slots.tick(nowMs)
  }
  const all = defaultLimits.originSlotsMin + giveAll(slots).length
  assert.ok(all >= 28 && all <= 40, `${all} for 32 pieces`)
})

test("where more were tried and nobody waits any more, slots are wanted back until they are as many as before", () => {
  const slots = slotsWith({ originSlotsMin: 2, originSlotsMax: 2, slotTrialMs: 1_000, slotTrialBytes: 1 })
  for (let number = 0; number < 4; number += 1) slots.wait(peerWith(number, 0))
  const given = giveAll(slots)
  assert.equal(given.length, 2)
  for (let nowMs = 100; nowMs <= 10_000 && given.length === 2; nowMs += 100) {
    slots.sent(100_000)
    slots.tick(nowMs)
    given.push(...giveAll(slots))
  }
  assert.equal(given.length, 4, "twice as many were tried")
  for (let nowMs = 10_100; nowMs <= 12_500; nowMs += 100) slots.tick(nowMs)
  assert.ok(slots.wantedOf(peerWith(99, 0)), "two have to give theirs back")
  for (const peer of given.slice(0, 2)) slots.takeBack(peer)
  assert.ok(!slots.wantedOf(peerWith(99, 0)))
})

/** Served by an origin whose uplink is full all the time. */
function serve(slots: UploadSlots, fromMs: number, forMs: number): void {
  for (let nowMs = fromMs; nowMs < fromMs + forMs; nowMs += 100) {
    slots.sent(100_000)
    slots.tick(nowMs)
  }
}

test("an origin serves peers of other sites when none of its own wants anything, and when it does, one of them now and then", () => {
  const slots = slotsWith({ originSlotsMin: 2, originSlotsMax: 2, slotFarMs: 5_000, slotTrialMs: 1e9 })
  const [near, far] = [peerWith(1, 0), peerWith(2, 0, false)]
  slots.wait(far)
  assert.deepEqual(giveAll(slots), [far])
  slots.wait(near)
  assert.deepEqual(giveAll(slots), [near])
  assert.ok(slots.wantedOf(far) && !slots.wantedOf(near), "a turn of one of another site ends, one of the own does not")
  slots.takeBack(far)
  slots.wait(far)
  serve(slots, 0, 4_900)
  assert.deepEqual(giveAll(slots), [])
  serve(slots, 4_900, 200)
  assert.deepEqual(giveAll(slots), [far])
})

test("a due peer of another site has a slot beside those of the own site", () => {
  const slots = slotsWith({ originSlotsMin: 2, originSlotsMax: 2, slotFarMs: 5_000, slotTrialMs: 1e9 })
  for (let number = 0; number < 4; number += 1) slots.wait(peerWith(number, 0))
  const far = peerWith(9, 0, false)
  slots.wait(far)
  assert.ok(giveAll(slots).every(({ near }) => near))
  serve(slots, 0, 5_100)
  assert.deepEqual(giveAll(slots), [far])
  assert.equal(slots.taken, 3)
})

test("an origin whose own site takes far less than its uplink could give serves other sites beside", () => {
  const slots = slotsWith({ originSlotsMin: 4, originSlotsMax: 4, slotFarMs: 1e9, slotTrialMs: 1e9 })
  slots.wait(peerWith(1, 0))
  assert.equal(giveAll(slots).length, 1)
  const far = peerWith(2, 0, false)
  slots.wait(far)
  serve(slots, 0, 2_000)
  assert.deepEqual(giveAll(slots), [])
  for (let nowMs = 2_000; nowMs < 6_000; nowMs += 100) {
    slots.sent(10_000)
    slots.tick(nowMs)
  }
  assert.deepEqual(giveAll(slots), [far])
})

test("who downloads serves peers of other sites as its own", () => {
  const slots = slotsWith({}, false)
  for (let number = 0; number < 8; number += 1) slots.wait(peerWith(number, 0, number % 2 === 0))
  assert.equal(giveAll(slots).length, 8)
})
