/** The danger: whoever may write a grants document moves a sealed grant to where its holder should not open it. */
import assert from "node:assert/strict"
import { test } from "node:test"
import type { Grant, Grants } from "#core/documents.ts"
import { imageRef } from "#core/identifiers.ts"
import { mayOpen, openGrant, sealGrant } from "#crypto/grant.ts"
import { sealingKeyFromSecret } from "#crypto/identity.ts"
import { seededRandom, seedOf } from "./site.ts"

const key = sealingKeyFromSecret(seedOf("group"))
const secretKey = Buffer.from(key.secretKey).toString("hex")
const imageIdentity = `AGE-SECRET-KEY-1${"Q".repeat(58)}`
const ref = imageRef("debian:1")
const grant = sealGrant({
  site: "lab",
  ref,
  group: { name: "nodes", generation: 1, publicKey: key.publicKeyHex },
  imageIdentity,
  random: seededRandom("moved"),
})
const at = (changed: Partial<Grants>, changedGrant: Partial<Grant> = {}): Grants => ({
  format: "imagegrid-grants-1",
  retiredAtMs: null,
  pinned: false,
  site: "lab",
  ...ref,
  ...changed,
  grants: [{ ...grant, ...changedGrant }],
})
const open = (grants: Grants, name = "nodes", generation = 1) => openGrant(grants.site, grants, [{ name, generation, secretKey }])

test("a grant where it belongs opens: the control", () => {
  assert.equal(open(at({})), imageIdentity)
})

test("a grant moved to another image opens nothing", () => {
  assert.equal(open(at({ name: "windows" })), null)
  assert.equal(mayOpen(at({ name: "windows" }), [{ name: "nodes", generation: 1, secretKey }]), false)
})

test("a grant moved to another version opens nothing", () => {
  assert.equal(open(at({ version: "2" })), null)
})

test("a grant moved to another site opens nothing", () => {
  assert.equal(open(at({ site: "elsewhere" })), null)
  assert.equal(openGrant("elsewhere", at({}), [{ name: "nodes", generation: 1, secretKey }]), null)
})

test("a grant moved to another group or generation of the same key opens nothing", () => {
  assert.equal(open(at({}, { group: "heads" }), "heads"), null)
  assert.equal(open(at({}, { generation: 2 }), "nodes", 2), null)
})
