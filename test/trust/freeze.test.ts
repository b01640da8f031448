/** The danger: someone in the middle hides every newer file, and an old state passes as the present one for ever. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import { imageRef } from "#core/identifiers.ts"
import { openCatalog, requireCurrentPublisher, rootDigest } from "#trust/catalog.ts"
import { bodyOf, DAY_MS, forge, newRepository, open, refusedWith, startMs, withImages } from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")

test("a catalog is refused from the very second on at which its timestamp ends", () => {
  assert.equal(open(files, startMs + 3 * DAY_MS - 1).images.size, 1)
  assert.throws(() => open(files, startMs + 3 * DAY_MS), refusedWith("CATALOG_EXPIRED", /timestamp/))
})

test("the refusal says both times, so that a wrong clock is noticed", () => {
  const nowMs = startMs + 100 * DAY_MS
  const expected = [new Date(startMs + 3 * DAY_MS), new Date(nowMs)].map((at) => at.toISOString().slice(0, 19))
  assert.throws(
    () => open(files, nowMs),
    (error) => error instanceof GridError && expected.every((time) => error.message.includes(time)),
  )
})

for (const role of ["root", "timestamp", "snapshot", "targets"] as const)
  test(`an expired ${role} alone is enough, under otherwise fresh files`, () => {
    const body = { ...bodyOf(files, role), expires: "2026-11-22T11:59:59Z" }
    const expired = forge(files, { bodies: { [role]: body } })
    assert.throws(() => open(expired), refusedWith("CATALOG_EXPIRED", new RegExp(`: ${role} expired`)))
    assert.throws(() => openCatalog(expired, { trusted: expired }, startMs), refusedWith("CATALOG_EXPIRED"))
    assert.equal(open(expired, startMs - DAY_MS).expiresAtMs, Date.parse(body.expires))
  })

test("an expired publisher freezes its own images and nobody else's", () => {
  const body = { ...bodyOf(files, "publisher"), expires: "2026-11-23T12:00:00Z" }
  const catalog = open(forge(files, { bodies: { publisher: body } }))
  requireCurrentPublisher(catalog, imageRef("debian:1"), startMs)
  const late = () => requireCurrentPublisher(catalog, imageRef("debian:1"), startMs + DAY_MS)
  assert.throws(late, refusedWith("CATALOG_EXPIRED", /publisher of debian:1 expired at 2026-11-23/))
  assert.equal(open(catalog.files, startMs + DAY_MS).images.size, 1)
})

test("who only looks may ignore expiry, and nothing else", () => {
  const anchor = { rootDigest: rootDigest(files) }
  const late = startMs + 1_000 * DAY_MS
  assert.equal(openCatalog(files, anchor, late, { expiry: "ignore" }).images.size, 1)
  const unsigned = forge(files, { seeds: { timestamp: [Buffer.alloc(32)] } })
  assert.throws(() => openCatalog(unsigned, anchor, late, { expiry: "ignore" }), refusedWith("CATALOG_INVALID"))
})
