import assert from "node:assert/strict"
import { test } from "node:test"
import { BLOCK_BYTES } from "#core/torrent.ts"
import type { CoreEffect, CoreEvent } from "#swarm/core/events.ts"
import type { TorrentCore } from "#swarm/core/torrent-core.ts"
import { InvariantViolation } from "../../bench/simulator/invariants.ts"
import type { HostCore, VirtualBlock } from "../../bench/simulator/virtual-host.ts"
import { VirtualSwarm } from "../../bench/simulator/virtual-swarm.ts"

type Core = TorrentCore<VirtualBlock>
type Effects = readonly CoreEffect<VirtualBlock>[]

/** Host 0 is the origin, 1 and 2 want the file. */
const SEED = 41

/** Plays three hosts, one of them with a core that is wrapped. */
function play(wrapped: number, wrap: (core: Core) => HostCore): void {
  const swarm = new VirtualSwarm({
    contentBytes: 16 * 4 * BLOCK_BYTES,
    pieceBytes: 4 * BLOCK_BYTES,
    seed: SEED,
    makeCore: (core, index) => (index === wrapped ? wrap(core) : core),
  })
  const bytesPerSecond = 1_000_000
  const origin = swarm.add({ name: "host 0", role: "server", holds: "all", bytesPerSecond })
  for (const name of ["host 1", "host 2"]) swarm.add({ name, role: "client", holds: "nothing", bytesPerSecond })
  swarm.tellAll([origin])
  swarm.run(() => swarm.allDone(), 60_000)
  swarm.finish()
}

/** The core with some of its doors replaced. */
function withParts(core: Core, parts: Partial<HostCore>): HostCore {
  return new Proxy<HostCore>(core, {
    get(_, name) {
      if (name in parts) return Reflect.get(parts, name)
      const value: unknown = Reflect.get(core, name)
      return typeof value === "function" ? value.bind(core) : value
    },
  })
}

function withEffects(core: Core, change: (effects: Effects, event: CoreEvent<VirtualBlock>) => Effects): HostCore {
  return withParts(core, { step: (event, nowMs) => change(core.step(event, nowMs), event) })
}

/** Changes the first effect for which `change` gives something else. */
function once(change: (effect: CoreEffect<VirtualBlock>) => Effects | null): (effects: Effects) => Effects {
  let done = false
  return (effects) =>
    effects.flatMap((effect) => {
      const changed = done ? null : change(effect)
      done ||= changed !== null
      return changed ?? [effect]
    })
}

function broken(expected: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof InvariantViolation, String(error))
    assert.match(error.message, expected)
    assert.match(error.message, /after [\d.]+ ms, seed 41/)
    return true
  }
}

test("the product's own core breaks nothing", () => {
  play(1, (core) => core)
})

test("a piece in two states is caught", () => {
  const census = (core: Core) => () => {
    const now = core.census()
    return now.held === 3 ? { ...now, missing: now.missing + 1 } : now
  }
  assert.throws(() => play(1, (core) => withParts(core, { census: census(core) })), broken(/pieces missing.* are not 16 \(host 1/))
})

test("a piece that is held and was never stored is caught", () => {
  const census = (core: Core) => () => {
    const now = core.census()
    return now.missing === 0 ? now : { ...now, missing: now.missing - 1, held: now.held + 1 }
  }
  assert.throws(() => play(2, (core) => withParts(core, { census: census(core) })), broken(/pieces held, but 0 were stored \(host 2/))
})

test("a block that is kept twice is caught", () => {
  const twice = once((effect) => (effect.kind === "keep-block" ? [effect, effect] : null))
  assert.throws(() => play(1, (core) => withEffects(core, twice)), broken(/is kept twice \(host 1/))
})

test("a piece that is verified before all of it came is caught", () => {
  const early = once((effect) => (effect.kind === "keep-block" ? [effect, { kind: "verify", piece: effect.piece }] : null))
  assert.throws(() => play(1, (core) => withEffects(core, early)), broken(/is to be verified and lacks blocks \(host 1/))
})

test("a request that nobody answers is caught", () => {
  const lost = once((effect) => (effect.kind === "upload" ? [] : null))
  assert.throws(() => play(0, (core) => withEffects(core, lost)), broken(/unanswered after|requests without an answer/))
})

test("an answer to what was not asked is caught", () => {
  const twice = once((effect) => (effect.kind === "upload" ? [{ ...effect, blocks: [...effect.blocks, ...effect.blocks] }] : null))
  assert.throws(() => play(0, (core) => withEffects(core, twice)), broken(/answered host \d for block \d+ and was not asked \(host 0/))
})

test("a request that is sent twice is caught", () => {
  const twice = once((effect) => (effect.kind === "send" && effect.message.type === "request" ? [effect, effect] : null))
  assert.throws(() => play(1, (core) => withEffects(core, twice)), broken(/is asked twice of host \d \(host 1/))
})

test("bytes counted twice are caught, received and sent", () => {
  const more = (core: Core, name: "downloadedBytes" | "uploadedBytes" | "duplicateBytes") =>
    withParts(core, {
      get statistics() {
        return { ...core.statistics, [name]: core.statistics[name] + BLOCK_BYTES }
      },
    })
  assert.throws(() => play(1, (core) => more(core, "downloadedBytes")), broken(/are not the \d+ downloaded/))
  assert.throws(() => play(1, (core) => more(core, "duplicateBytes")), broken(/duplicate are not the \d+ kept/))
  assert.throws(() => play(0, (core) => more(core, "uploadedBytes")), broken(/bytes uploaded, but \d+ were reported/))
})

test("more requests in flight than are on the wire are caught", () => {
  const census = (core: Core) => () => ({ ...core.census(), inFlight: core.census().inFlight + 1 })
  assert.throws(() => play(2, (core) => withParts(core, { census: census(core) })), broken(/requests in flight, but 0 are on the wire/))
})

test("a host that never finishes is caught", () => {
  const deaf = (core: Core) =>
    withParts(core, {
      step: (event, nowMs) => (event.kind === "message" && event.message.type === "unchoke" ? [] : core.step(event, nowMs)),
    })
  assert.throws(() => play(1, deaf), broken(/only 0 of 16 pieces \(host 1/))
})

test("a core that throws is named with the event at which it did", () => {
  const failing = (core: Core) =>
    withParts(core, {
      step: (event, nowMs) => {
        if (event.kind === "piece-stored") throw new TypeError("no such thing")
        return core.step(event, nowMs)
      },
    })
  assert.throws(() => play(2, failing), broken(/the core failed at "piece-stored": no such thing \(host 2/))
})
