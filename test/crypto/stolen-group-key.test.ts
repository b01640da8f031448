/** The danger: somebody else has a group's key. It opens what was granted to it, for whoever has the sealed bytes. */
import assert from "node:assert/strict"
import { test } from "node:test"
import type { Grants } from "#core/documents.ts"
import { imageRef } from "#core/identifiers.ts"
import { openGrant, sealGrant, type GroupSecret } from "#crypto/grant.ts"
import { sealingKeyFromSecret } from "#crypto/identity.ts"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, memberOf, ownOf, seededRandom, seedOf } from "./site.ts"

const imageIdentity = `AGE-SECRET-KEY-1${"Q".repeat(58)}`
const ref = imageRef("debian:1")
const keyOf = (group: string, generation: number) => sealingKeyFromSecret(seedOf(`${group} ${generation}`))
const secretOf = (name: string, generation: number): GroupSecret => ({
  name,
  generation,
  secretKey: Buffer.from(keyOf(name, generation).secretKey).toString("hex"),
})
const grantsTo = (...groups: readonly (readonly [name: string, generation: number])[]): Grants => ({
  format: "imagegrid-grants-1",
  retiredAtMs: null,
  pinned: false,
  site: "lab",
  ...ref,
  grants: groups.map(([name, generation]) =>
    sealGrant({
      site: "lab",
      ref,
      group: { name, generation, publicKey: keyOf(name, generation).publicKeyHex },
      imageIdentity,
      random: seededRandom(name),
    }),
  ),
})
const stolen = secretOf("nodes", 1)

test("it can: open what is granted to its generation of its group", () => {
  assert.equal(openGrant("lab", grantsTo(["nodes", 1]), [stolen]), imageIdentity)
})

test("it can't: open what is granted to another group, or to the generation that replaced it", () => {
  assert.equal(openGrant("lab", grantsTo(["heads", 1]), [stolen]), null)
  assert.equal(openGrant("lab", grantsTo(["nodes", 2]), [stolen]), null)
  for (const claimed of [
    { ...stolen, name: "heads" },
    { ...stolen, generation: 2 },
  ])
    assert.equal(openGrant("lab", grantsTo(["heads", 1], ["nodes", 2]), [claimed]), null)
})

test("it can't: get a byte of an image, for it is no certificate", async () => {
  const authority = await authorityOf("authority")
  const server = await memberOf(authority, "server", { role: "server" })
  const outcome = await handshake(admissionOf(authority, ownOf(server)), { rejectUnauthorized: false })
  assert.deepEqual([outcome.answered, outcome.read], [null, ""])
})

test("recovery: a grant that was made anew to the next generation opens for those who have that, and not for the thief", () => {
  const renewed = grantsTo(["nodes", 2])
  assert.equal(openGrant("lab", renewed, [secretOf("nodes", 2)]), imageIdentity)
  assert.equal(openGrant("lab", renewed, [stolen]), null)
})
