/** The danger: one key listed under two ids signs twice and reaches a threshold of two alone. TUF libraries let it pass. */
import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { test } from "node:test"
import { METADATA_PATH, ROOT_PATH } from "#trust/catalog-file.ts"
import { canonicalJson, keyIdOfSeed, listedFile, tufKeyOf } from "#trust/metadata.ts"
import { sign, signingKeyFromSeed } from "#crypto/identity.ts"
import { bodyOf, forge, keys, newRepository, open, refusedWith, withImages } from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")
const secondId = createHash("sha256").update("any other id").digest("hex")
const refused = refusedWith("CATALOG_INVALID", /under an id that is not its digest/)

/** Signed by one seed under both ids. */
function twice(body: unknown, seed: Uint8Array): Buffer {
  const sig = sign(signingKeyFromSeed(seed), canonicalJson(body)).toString("hex")
  const signatures = [keyIdOfSeed(seed), secondId].map((keyid) => ({ keyid, sig }))
  return Buffer.from(JSON.stringify({ signatures, signed: body }))
}

test("a root that lists a key twice is refused", () => {
  const root = bodyOf(files, "root")
  root.keys[secondId] = tufKeyOf(keys.root)
  root.roles.root = { keyids: [keyIdOfSeed(keys.root), secondId] as typeof root.roles.root.keyids, threshold: 2 }
  assert.throws(() => open(new Map([...files, [ROOT_PATH(1), twice(root, keys.root)]])), refused)
})

test("a publisher whose key is listed twice is refused", () => {
  const targets = bodyOf(files, "targets")
  targets.delegations.keys[secondId] = tufKeyOf(keys.publisher)
  Object.assign(targets.delegations.roles[0] ?? assert.fail(), { keyids: [keyIdOfSeed(keys.publisher), secondId], threshold: 2 })
  const publisher = twice(bodyOf(files, "publisher"), keys.publisher)
  const listed = forge(new Map([...files, [METADATA_PATH("publisher"), publisher]]), { bodies: { targets } })
  assert.deepEqual(bodyOf(listed, "snapshot").meta["publisher.json"], listedFile(2, publisher))
  assert.throws(() => open(listed), refused)
})

test("one id named twice in a role, or more signatures asked for than there are keys, is refused", () => {
  const root = bodyOf(files, "root")
  const [id] = root.roles.root.keyids
  for (const role of [
    { keyids: [id, id], threshold: 2 },
    { keyids: [id], threshold: 2 },
    { keyids: [secondId], threshold: 1 },
  ])
    assert.throws(
      () => open(forge(files, { bodies: { root: { ...root, roles: { ...root.roles, root: role } } } })),
      refusedWith("CATALOG_INVALID", /root/),
    )
})
