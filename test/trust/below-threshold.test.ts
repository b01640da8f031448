/** The danger: fewer keys than the site asked for, or keys that it never named, sign for a role. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, ROOT_PATH, type CatalogFiles } from "#trust/catalog-file.ts"
import { keyIdOfSeed, listedFile, signMetadata, tufKeyOf } from "#trust/metadata.ts"
import { bodyOf, forge, keys, newRepository, open, refusedWith, rotateRoot, seedOf, withImages } from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")
const refused = refusedWith("CATALOG_INVALID")
const second = seedOf("second key")
const thief = seedOf("thief")

for (const role of ["root", "timestamp", "snapshot", "targets", "publisher"] as const)
  test(`${role} signed by a key that the site did not name is refused`, () => {
    assert.throws(() => open(forge(files, { seeds: { [role]: [thief] } })), refused)
    assert.equal(open(forge(files, { seeds: { [role]: [thief, keys[role]] } })).images.size, 1, "one good signature is enough beside it")
  })

test("a publisher with threshold 2 needs both keys", () => {
  const targets = bodyOf(files, "targets")
  targets.delegations.keys[keyIdOfSeed(second)] = tufKeyOf(second)
  Object.assign(targets.delegations.roles[0] ?? assert.fail(), { threshold: 2, keyids: [keyIdOfSeed(keys.publisher), keyIdOfSeed(second)] })
  const signedBy = (...publisher: Buffer[]): CatalogFiles => forge(files, { bodies: { targets }, seeds: { publisher } })
  assert.equal(open(signedBy(Buffer.from(keys.publisher), second)).images.size, 1)
  assert.throws(() => open(signedBy(Buffer.from(keys.publisher))), refusedWith("CATALOG_INVALID", /signed by 1 of 2 keys/))
  assert.throws(() => open(signedBy(second, thief)), refused)
  assert.throws(() => open(signedBy(second, second)), refused)
})

test("the same signature given twice counts once", () => {
  const targets = bodyOf(files, "targets")
  targets.delegations.keys[keyIdOfSeed(second)] = tufKeyOf(second)
  Object.assign(targets.delegations.roles[0] ?? assert.fail(), { threshold: 2, keyids: [keyIdOfSeed(keys.publisher), keyIdOfSeed(second)] })
  const twice = signMetadata<"publisher">(bodyOf(files, "publisher"), [keys.publisher, keys.publisher])
  const snapshot = bodyOf(files, "snapshot")
  snapshot.meta["publisher.json"] = listedFile(2, twice)
  snapshot.meta["targets.json"] = listedFile(targets.version, signMetadata<"targets">(targets, [keys.targets]))
  assert.throws(
    () => open(forge(files, { bodies: { targets, snapshot }, files: { [METADATA_PATH("publisher")]: twice } })),
    refusedWith("CATALOG_INVALID", /signed by 1 of 2/),
  )
})

test("a new root needs the old root's keys and its own", () => {
  const withNewKey = (signers: readonly Uint8Array[]): CatalogFiles =>
    rotateRoot(
      files,
      (root) => {
        root.keys[keyIdOfSeed(second)] = tufKeyOf(second)
        root.roles.root.keyids = [keyIdOfSeed(second)]
      },
      signers,
    )
  assert.equal(open(withNewKey([keys.root, second])).rootVersion, 2)
  assert.throws(() => open(withNewKey([keys.root])), refusedWith("CATALOG_INVALID", /root 2/))
  assert.throws(() => open(withNewKey([second])), refusedWith("CATALOG_INVALID", /root 2/))
})

test("a changed byte in a signature or in what was signed is noticed in every file", () => {
  for (const path of [ROOT_PATH(1), ...["timestamp", "snapshot", "targets", "publisher"].map(METADATA_PATH)]) {
    const original = files.get(path) ?? assert.fail()
    for (let at = 0; at < original.length; at += 11) {
      const changed = Buffer.from(original)
      changed[at] = (changed[at] ?? 0) ^ 1
      assert.throws(() => open(new Map([...files, [path, changed]])), refused, `${path} byte ${at}`)
    }
  }
})
