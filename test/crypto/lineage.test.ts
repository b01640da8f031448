import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { test } from "node:test"
import { imageName, imageVersion } from "#core/identifiers.ts"
import { openLineage, sealLineage } from "#crypto/lineage.ts"

const identityOf = (letter: string) => `AGE-SECRET-KEY-1${letter.repeat(58)}`
const own = { site: "main", ref: { name: imageName("os"), version: imageVersion("3") }, identity: identityOf("Q") }
const earlier = [
  { version: "1", identity: identityOf("P") },
  { version: "2", identity: identityOf("Z") },
]
const sealed = sealLineage(own, earlier, randomBytes)

test("who has a version's identity opens those of the versions that it was made from", () => {
  assert.deepEqual(openLineage(own, sealed), earlier)
})

test("it opens for no other identity, site, name or version", () => {
  const others = [
    { ...own, identity: identityOf("P") },
    { ...own, site: "other" },
    { ...own, ref: { ...own.ref, name: imageName("osx") } },
    { ...own, ref: { ...own.ref, version: imageVersion("4") } },
  ]
  for (const other of others) assert.throws(() => openLineage(other, sealed), { code: "SEALED_INVALID" })
})

test("one bit changed anywhere, and a cut at any length, is refused", () => {
  const bytes = Buffer.from(sealed, "base64")
  for (let at = 0; at < bytes.length; at += 7) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.throws(() => openLineage(own, changed.toString("base64")), { code: "SEALED_INVALID" })
    assert.throws(() => openLineage(own, bytes.subarray(0, at).toString("base64")), { code: "SEALED_INVALID" })
  }
})

test("what is no identity is neither sealed nor named in the refusal", () => {
  const wrong = [{ version: "1", identity: `${identityOf("P")}x` }]
  assert.throws(
    () => sealLineage(own, wrong, randomBytes),
    (error: Error) => !error.message.includes(identityOf("P")),
  )
})

test("the same lineage sealed twice differs: the nonce is new each time", () => {
  assert.notEqual(sealLineage(own, earlier, randomBytes), sealed)
})
