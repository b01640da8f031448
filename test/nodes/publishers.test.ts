import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { mkdirSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { imageRef } from "../../core/identifiers.ts"
import { signingKeyFromSeed } from "../../crypto/identity.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { KeyRing, saveKeyFile } from "../../nodes/key-ring.ts"
import { finishChange } from "../../nodes/make-change.ts"
import { addPublisher, imagesOf, removePublisher } from "../../nodes/publishers.ts"
import { publishImage } from "../../nodes/publish.ts"
import { TestSite } from "../member/site.ts"

const noPassphrase = () => Promise.reject(new TypeError("no key here has a passphrase"))

test("a publisher of hpc/* comes into force with its own signature, publishes there and nowhere else, and goes with its images", async () => {
  await using site = await TestSite.start()
  const seed = randomBytes(32)
  const file = join(site.directory, "anna.key")
  await saveKeyFile(file, seed, null)
  const parts = await site.parts()
  const added = await addPublisher(parts, {
    name: "hpc",
    names: ["hpc/*"],
    keys: [signingKeyFromSeed(seed).publicKeyHex],
    threshold: 1,
  })
  assert.equal(added.applied, false, "the publisher signs its first file itself")
  const anna = { ...parts, keys: await KeyRing.open({ homeKeys: null, files: [file] }, noPassphrase) }
  assert.equal((await finishChange(anna, added.files, added.change)).applied, true)

  const tree = join(site.directory, "tree")
  mkdirSync(tree)
  writeFileSync(join(tree, "hostname"), "node\n")
  const publish = (image: string) =>
    publishImage({ ...anna, signal: new AbortController().signal }, { directory: tree, ref: imageRef(image), groups: [DEFAULT_GROUP] })
  const layersBefore = readdirSync(site.home.path("layers")).length
  await assert.rejects(publish("web/front:1"), { code: "KEY_MISSING" })
  assert.deepEqual(
    readdirSync(site.home.path("publishing")).filter((name) => name.startsWith("work-")),
    [],
    "nothing was sealed",
  )
  assert.equal(readdirSync(site.home.path("layers")).length, layersBefore)
  await publish("hpc/node:1")
  assert.equal(site.server.member.catalogs.catalog.publishers.get("hpc/node:1"), "hpc")
  // Who may sign all names can't take a name over that was signed, and with it break the catalog.
  await assert.rejects(site.publish("hpc/node:1"), { code: "IMAGE_EXISTS" })

  assert.deepEqual(await imagesOf(parts, "hpc"), ["hpc/node:1"])
  assert.equal((await removePublisher(parts, "hpc")).applied, true)
  assert.equal(site.server.member.catalogs.catalog.images.has("hpc/node:1"), false)
  await assert.rejects(publish("hpc/node:2"), { code: "KEY_MISSING" })
})

test("a publisher needs a name of its own, names to publish, and a threshold that its keys can meet", async () => {
  await using site = await TestSite.start()
  const parts = await site.parts()
  const sound = { name: "hpc", names: ["hpc/*"], keys: ["ab".repeat(32)], threshold: 1 }
  for (const [wrong, code] of [
    [{ name: "root" }, "NAME_INVALID"],
    [{ name: "publisher" }, "USAGE"],
    [{ names: ["../x"] }, "NAME_INVALID"],
    [{ names: [] }, "USAGE"],
    [{ keys: [] }, "USAGE"],
    [{ threshold: 2 }, "USAGE"],
    [{ keys: ["ab".repeat(32), "ab".repeat(32)], threshold: 2 }, "USAGE"],
  ] as const)
    await assert.rejects(addPublisher(parts, { ...sound, ...wrong }), { code })
})
