import assert from "node:assert/strict"
import { test } from "node:test"
import type { Layer, Manifest } from "#core/documents.ts"
import { infohash, sha256 } from "#core/identifiers.ts"
import { deltaDelivery, freshDelivery, inherit, isFullDue, ownLayers } from "#core/versions.ts"

const indexOf = (version: string) => sha256(Buffer.from(version.padEnd(32, ".")).toString("hex"))
const layer = (kind: Layer["kind"], sealedBytes: number, version?: string): Layer => ({
  kind,
  ...(version !== undefined && { version }),
  infohash: infohash("11".repeat(20)),
  pieceBytes: 65_536,
  sealedBytes,
  sealedSha256: sha256("22".repeat(32)),
  contentBytes: sealedBytes,
  contentSha256: kind === "index" ? indexOf("none") : sha256("33".repeat(32)),
})
function manifestOf(version: string, layers: readonly Layer[], earlier: readonly string[] = []): Manifest {
  return {
    format: "imagegrid-manifest-1",
    site: "main",
    name: "os",
    version,
    publishedAtMs: 0,
    recipient: "age1",
    entryCount: 1,
    layers: layers.map((one) => (one.kind === "index" ? { ...one, contentSha256: indexOf(version) } : one)),
    exclude: [],
    lineage: earlier.length === 0 ? null : { versions: earlier.map((one) => ({ version: one, indexSha256: indexOf(one) })), sealed: "" },
  }
}
const kindsAndVersions = (layers: readonly Layer[]) => layers.map(({ kind, version }) => `${kind} ${version ?? "own"}`)

const first = manifestOf("1", [layer("full", 1_000), layer("index", 10)])
const third = manifestOf("3", [layer("full", 1_000, "1"), layer("delta", 50, "2"), layer("delta", 70), layer("index", 10)], ["1", "2"])
/** Made with a full layer of its own beside the delta. */
const renewed = manifestOf("4", [layer("full", 1_100), layer("delta", 70, "3"), layer("delta", 20), layer("index", 10)], ["2", "3"])

test("a fresh tree takes the full layer and every delta after it, in order", () => {
  assert.deepEqual(kindsAndVersions([...freshDelivery(third).deltas]), ["delta 2", "delta own"])
  assert.equal(freshDelivery(third).sealedBytes, 1_120)
  assert.deepEqual(freshDelivery(renewed).deltas, [])
  assert.equal(freshDelivery(renewed).sealedBytes, 1_100)
})

test("a tree of an earlier version takes the deltas since, and nothing where it has the version already", () => {
  const from = (version: string) => deltaDelivery(third, { version, indexSha256: indexOf(version) })
  assert.equal(from("1")?.sealedBytes, 120)
  assert.equal(from("2")?.sealedBytes, 70)
  assert.equal(from("3")?.sealedBytes, 0)
})

test("no delta leads from a version that is not in the lineage, nor from one of the same name with another index", () => {
  assert.equal(deltaDelivery(third, { version: "0", indexSha256: indexOf("0") }), null)
  assert.equal(deltaDelivery(third, { version: "2", indexSha256: indexOf("1") }), null)
})

test("auto makes a full layer when the deltas come to half of it, or to more than twelve; always and never do as they say", () => {
  assert.equal(isFullDue(third, 380, "auto"), false)
  assert.equal(isFullDue(third, 381, "auto"), true)
  assert.equal(isFullDue(third, 0, "always"), true)
  assert.equal(isFullDue(third, 10_000, "never"), false)
  const names = Array.from({ length: 13 }, (_, number) => String(number + 1))
  const chain = (length: number) =>
    manifestOf(
      String(length + 1),
      [
        layer("full", 1_000, "1"),
        ...names.slice(1, length).map((version) => layer("delta", 1, version)),
        layer("delta", 1),
        layer("index", 1),
      ],
      names.slice(0, length),
    )
  assert.equal(isFullDue(chain(11), 1, "auto"), false)
  assert.equal(isFullDue(chain(12), 1, "auto"), true)
})

test("a version inherits its parent's layers, each with the version that it was made for, and not the parent's index", () => {
  const { versions, layers } = inherit(third, indexOf("3"), { full: null, delta: layer("delta", 5) }, 24)
  assert.deepEqual(
    versions.map(({ version }) => version),
    ["1", "2", "3"],
  )
  assert.deepEqual(kindsAndVersions(layers), ["full 1", "delta 2", "delta 3"])
})

test("with a full layer of its own it drops the versions from which that is the shorter way, and those beyond what a lineage may hold", () => {
  const own = (deltaBytes: number, fullBytes: number) => ({ full: layer("full", fullBytes), delta: layer("delta", deltaBytes) })
  const versionsOf = (deltaBytes: number, fullBytes: number, most: number) =>
    inherit(third, indexOf("3"), own(deltaBytes, fullBytes), most).versions.map(({ version }) => version)
  assert.deepEqual(versionsOf(5, 1_000, 24), ["1", "2", "3"])
  // From 1 it is 50 + 70 + 5, from 2 it is 70 + 5.
  assert.deepEqual(versionsOf(5, 124, 24), ["2", "3"])
  assert.deepEqual(versionsOf(5, 74, 24), ["3"])
  assert.deepEqual(versionsOf(5, 1_000, 2), ["2", "3"])
  assert.deepEqual(kindsAndVersions(inherit(third, indexOf("3"), own(5, 124), 24).layers), ["delta 3"])
})

test("own layers are those made for the version itself", () => {
  assert.deepEqual(kindsAndVersions(ownLayers(first)), ["full own", "index own"])
  assert.deepEqual(kindsAndVersions(ownLayers(third)), ["delta own", "index own"])
  assert.deepEqual(kindsAndVersions(ownLayers(renewed)), ["full own", "delta own", "index own"])
})
