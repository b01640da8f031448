/** The danger: somebody else has a publisher's key. It is the worst of the keys within its names: an image runs as root. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { METADATA_PATH, TARGET_PREFIX } from "#trust/catalog-file.ts"
import { openCatalog } from "#trust/catalog.ts"
import { applyChange } from "#trust/change.ts"
import { signMetadata, type SignedBody } from "#trust/metadata.ts"
import { changed, publication, published, publishersAre } from "./administrators.ts"
import {
  grantsOf,
  keys,
  listTarget,
  manifestOf,
  newRepository,
  online,
  open,
  refusedWith,
  seedOf,
  startMs,
  withImages,
} from "./repositories.ts"
import { publisherFileOf } from "#trust/files.ts"

const hpc = seedOf("hpc publisher")
const two = { publisher: { seeds: [keys.publisher], pattern: "debian" }, hpc: { seeds: [hpc], pattern: "hpc/*" } }
const start = changed(newRepository(), { delegations: publishersAre(two) }, { seeds: [keys.targets, keys.publisher, hpc] })
const files = published(withImages(start, "debian:1"), "hpc/tools:1", { seeds: [hpc] })

/** What a server makes of a publisher's file that the thief wrote at will. */
function offered(role: string, change: (body: SignedBody<"publisher">) => void, documents: Readonly<Record<string, unknown>> = {}) {
  const body = structuredClone(publisherFileOf(files, role))
  body.version++
  for (const [path, document] of Object.entries(documents)) body.targets[path] = listTarget(document)
  change(body)
  const parts = new Map([[METADATA_PATH(role), signMetadata<"publisher">(body, [hpc])]])
  for (const [path, document] of Object.entries(documents)) parts.set(TARGET_PREFIX + path, Buffer.from(JSON.stringify(document)))
  return () => applyChange({ files, change: parts, online: () => online, nowMs: startMs })
}
const pair = (image: string, entryCount = 3) => {
  const path = `${image.replace(":", "/")}.json`
  return { [`images/${path}`]: manifestOf(image, { entryCount }), [`grants/${path}`]: grantsOf(image) }
}

test("it can: publish new versions under its names, to machines that deploy them", () => {
  assert.equal(open(offered("hpc", () => {}, pair("hpc/tools:2"))()).images.size, 3)
})

test("it can't: publish under other names, in its own file or another's", () => {
  assert.throws(
    offered("hpc", () => {}, pair("debian:2")),
    refusedWith("CATALOG_INVALID", /hpc may not sign/),
  )
  assert.throws(
    offered("publisher", () => {}, pair("debian:2")),
    refusedWith("SIGNATURES_MISSING", /publisher has 0 of 1/),
  )
})

test("it can't: change or take back a version that was published", () => {
  assert.throws(
    offered("hpc", () => {}, { "images/hpc/tools/1.json": manifestOf("hpc/tools:1", { entryCount: 9 }) }),
    refusedWith("IMAGE_EXISTS"),
  )
  assert.throws(
    offered("hpc", (body) => {
      for (const path of Object.keys(body.targets)) delete body.targets[path]
    }),
    refusedWith("CATALOG_INVALID", /is gone/),
  )
})

test("it can't: touch the site's document, its delegations or its root", () => {
  assert.throws(
    () => changed(files, { site: (site) => ({ ...site, revoked: ["ab".repeat(16)] }) }, { seeds: [hpc] }),
    refusedWith("SIGNATURES_MISSING"),
  )
  assert.throws(() => changed(files, { delegations: publishersAre({ hpc: two.hpc }) }, { seeds: [hpc] }), refusedWith("SIGNATURES_MISSING"))
  assert.throws(() => changed(files, { root: (root) => root }, { seeds: [hpc] }), refusedWith("SIGNATURES_MISSING"))
})

test("a threshold of two makes one stolen key worth nothing", () => {
  const second = seedOf("second hpc publisher")
  const pairOfKeys = { ...two, hpc: { seeds: [hpc, second], threshold: 2, pattern: "hpc/*" } }
  const guarded = changed(files, { delegations: publishersAre(pairOfKeys) }, { seeds: [keys.targets, keys.publisher, hpc, second] })
  assert.throws(() => published(guarded, "hpc/tools:2", { seeds: [hpc] }), refusedWith("SIGNATURES_MISSING", /hpc has 1 of 2/))
  assert.equal(open(published(guarded, "hpc/tools:2", { seeds: [hpc, second] })).images.size, 3)
})

test("recovery: the publisher gets another key, or is removed; what the stolen one signs then is refused", () => {
  const stolen = published(files, "hpc/evil:1", { seeds: [hpc] })
  const next = seedOf("next hpc publisher")
  const rekeyed = changed(
    stolen,
    { delegations: publishersAre({ ...two, hpc: { ...two.hpc, seeds: [next] } }) },
    { seeds: [keys.targets, next] },
  )
  assert.throws(() => publication(rekeyed, "hpc/evil:2", [hpc]), refusedWith("KEY_MISSING"))
  const late = publication(stolen, "hpc/evil:2", [hpc])
  assert.throws(() => applyChange({ files: rekeyed, change: late, online: () => online, nowMs: startMs }), refusedWith("CATALOG_ROLLBACK"))
  assert.ok(open(rekeyed).images.has("hpc/evil:1"), "what it published before stays until its publisher is removed")
  const removed = changed(stolen, { delegations: publishersAre({ publisher: two.publisher }) })
  assert.deepEqual([...openCatalog(removed, { trusted: stolen }, startMs).images.keys()], ["debian:1"])
})
