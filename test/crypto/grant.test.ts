import assert from "node:assert/strict"
import { test } from "node:test"
import type { Grants } from "#core/documents.ts"
import { imageRef } from "#core/identifiers.ts"
import { mayOpen, openGrant, sealGrant, type GroupSecret } from "#crypto/grant.ts"
import { sealingKeyFromSecret } from "#crypto/identity.ts"
import { sealTo } from "#crypto/sealed-box.ts"
import { refusedWith, seededRandom, seedOf } from "./site.ts"

const random = seededRandom("grant")
const imageIdentity = `AGE-SECRET-KEY-1${"Q".repeat(58)}`
const ref = imageRef("hpc/debian:1")

const groupOf = (name: string, generation = 1) => {
  const key = sealingKeyFromSecret(seedOf(`${name} ${generation}`))
  const secret: GroupSecret = { name, generation, secretKey: Buffer.from(key.secretKey).toString("hex") }
  return { key: { name, generation, publicKey: key.publicKeyHex }, secret }
}
const nodes = groupOf("nodes")
const heads = groupOf("heads")
const grantsOf = (...groups: readonly { key: (typeof nodes)["key"] }[]): Grants => ({
  format: "imagegrid-grants-1",
  retiredAtMs: null,
  pinned: false,
  site: "lab",
  name: ref.name,
  version: ref.version,
  grants: groups.map((group) => sealGrant({ site: "lab", ref, group: group.key, imageIdentity, random })),
})

test("a member of a granted group gets the image's key", () => {
  assert.equal(openGrant("lab", grantsOf(nodes), [nodes.secret]), imageIdentity)
  assert.equal(openGrant("lab", grantsOf(heads, nodes), [groupOf("others").secret, nodes.secret]), imageIdentity)
  assert.equal(mayOpen(grantsOf(heads, nodes), [nodes.secret]), true)
})

test("who is in no granted group gets null", () => {
  assert.equal(openGrant("lab", grantsOf(heads), [nodes.secret]), null)
  assert.equal(openGrant("lab", grantsOf(), [nodes.secret]), null)
  assert.equal(openGrant("lab", grantsOf(nodes), []), null)
  assert.equal(mayOpen(grantsOf(heads), [nodes.secret]), false)
})

test("the key of an older generation does not open what was granted to a newer one", () => {
  assert.equal(openGrant("lab", grantsOf(groupOf("nodes", 2)), [nodes.secret]), null)
})

test("mayOpen() tries the key: a right name and generation with another key open nothing", () => {
  const impostor: GroupSecret = { ...heads.secret, name: "nodes" }
  assert.equal(mayOpen(grantsOf(nodes), [impostor]), false)
})

test("a damaged grant is passed over and the next one opens", () => {
  const grants = grantsOf(nodes, nodes)
  const damaged = { ...grants.grants[0], group: "nodes", generation: 1, sealed: "AAAA" }
  assert.equal(openGrant("lab", { ...grants, grants: [damaged, ...grants.grants.slice(1)] }, [nodes.secret]), imageIdentity)
})

test("sealed words that are no grant open nothing", () => {
  for (const plain of ["", "{}", "null", JSON.stringify({ imageIdentity }), "x".repeat(3_000)]) {
    const sealed = sealTo(nodes.key.publicKey, "imagegrid grant", Buffer.from(plain), random).toString("base64")
    const grants: Grants = { ...grantsOf(), grants: [{ group: "nodes", generation: 1, sealed }] }
    assert.equal(openGrant("lab", grants, [nodes.secret]), null, plain.slice(0, 20))
  }
})

test("only an age secret key is granted", () => {
  const parts = { site: "lab", ref, group: nodes.key, imageIdentity: "AGE-SECRET-KEY-1short", random }
  assert.throws(() => sealGrant(parts), refusedWith("SEALED_INVALID"))
})
