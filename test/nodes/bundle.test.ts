/** Images on a stick: between servers of one site, to another site, and what is not taken. */
import assert from "node:assert/strict"
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { after, test } from "node:test"
import * as tar from "tar"
import { imageQuery, siteName } from "../../core/identifiers.ts"
import type { BundleTaken } from "../../core/wire.ts"
import { silentLog } from "../../member/log.ts"
import type { Home } from "../../member/home.ts"
import { exportBundle } from "../../nodes/export-bundle.ts"
import { acceptOffer } from "../../nodes/federate.ts"
import { importBundle } from "../../nodes/import-bundle.ts"
import { makeOffer, readOffer } from "../../nodes/offer.ts"
import type { ImageServer } from "../../nodes/server.ts"
import { LayerStore } from "../../store/layer-store.ts"
import { TestSite, until } from "../member/site.ts"

const lab = await TestSite.start(undefined, { site: siteName("lab") })
const cineca = await TestSite.start(undefined, { site: siteName("cineca") })
after(async () => {
  await lab[Symbol.asyncDispose]()
  await cineca[Symbol.asyncDispose]()
})
await cineca.publish("rhel:9")
await cineca.publish("rhel:10")
await cineca.publish("secret:1")

const { signal } = new AbortController()
const partsOf = (home: Home) => ({ home, clock: { nowMs: () => Date.now() }, log: silentLog, signal, onProgress: () => {} })
const fileOf = (name: string) => join(lab.directory, name)
const exported = async (name: string, ...images: readonly string[]): Promise<string> => {
  await exportBundle(partsOf(cineca.home), images.map(imageQuery), fileOf(name))
  return fileOf(name)
}
const take = (home: Home, file: string): Promise<BundleTaken> => importBundle(partsOf(home), file)
const agree = async (by: TestSite, of: TestSite, shares: readonly string[], mirrors: readonly string[]) =>
  acceptOffer(await by.parts(), await readOffer(await makeOffer(await of.parts()), Date.now()), { shares, mirrors })
const isHeld = ({ member }: ImageServer, image: string): boolean =>
  member.federation.catalogs
    .newest("cineca")
    ?.images.get(image)
    ?.layers.every(({ infohash }) => member.swarm.session(infohash)?.complete) === true
/** A copy of a bundle with something done to its files. */
async function tampered(file: string, name: string, change: (directory: string) => void): Promise<string> {
  const directory = fileOf(`${name}-tree`)
  mkdirSync(directory)
  await tar.extract({ file, cwd: directory })
  change(directory)
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory())
  const paths = files.map((entry) => relative(directory, join(entry.parentPath, entry.name)))
  await tar.create({ file: fileOf(name), cwd: directory }, paths)
  return fileOf(name)
}

test("an export is one tar of plain files: a catalog, and each layer's metadata and sealed bytes", async () => {
  const paths: string[] = []
  await tar.list({ file: await exported("list.tar", "rhel:9"), onReadEntry: ({ path, type }) => paths.push(`${type} ${path}`) })
  const [catalog, ...layers] = paths.sort()
  assert.equal(catalog, "File catalogs/cineca.tar")
  assert.equal(layers.length, 4)
  for (const path of layers) assert.match(path, /^File layers\/[0-9a-f]{40}\/(info|layer\.age)$/)
})

test("a site without an agreement takes nothing", async () => {
  await assert.rejects(take(lab.home, await exported("early.tar", "rhel:9")), { code: "SITE_UNKNOWN" })
})

test("a running server of a site that trusts the signer takes what is shared and mirrored, and says what it does not take", async () => {
  // The sites know each other, and no network is between them: what lab has of cineca comes from files alone.
  await agree(cineca, lab, ["rhel"], [])
  await cineca.stop()
  const file = await exported("both.tar", "rhel:9", "secret:1")
  await agree(lab, cineca, [], ["*"])
  const taken = await take(lab.home, file)
  assert.deepEqual(taken.images, ["cineca/rhel:9"])
  assert.deepEqual(
    taken.passedOver.map(({ image }) => image),
    ["cineca/secret:1"],
  )
  assert.deepEqual(taken.newerCatalogs, ["cineca"])
  await until("lab seeds it", () => isHeld(lab.server, "rhel:9"))
  const again = await take(lab.home, file)
  assert.deepEqual([again.images, again.newerCatalogs], [["cineca/rhel:9"], []])
  assert.deepEqual(readdirSync(lab.home.path("importing")), [])
})

test("a layer that is not what its manifest says, and metadata of another torrent, are not taken", async () => {
  const good = await exported("ten.tar", "rhel:10")
  const changes: Record<string, (path: string) => void> = {
    "layer.age": (path) => {
      const bytes = readFileSync(path)
      bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
      writeFileSync(path, bytes)
    },
    info: (path) => {
      const other = readdirSync(lab.home.path("layers"))[0] ?? assert.fail()
      copyFileSync(lab.home.path("layers", other, "info"), path)
    },
  }
  for (const [name, change] of Object.entries(changes)) {
    const bad = await tampered(good, `bad-${name}.tar`, (directory) => {
      for (const infohash of readdirSync(join(directory, "layers"))) change(join(directory, "layers", infohash, name))
    })
    const taken = await take(lab.home, bad)
    assert.deepEqual([taken.images, taken.passedOver.length], [[], 1], name)
    assert.match(taken.passedOver[0]?.why ?? "", name === "info" ? /TORRENT_INVALID|metadata/ : /not what its manifest says/)
  }
  assert.equal(isHeld(lab.server, "rhel:10"), false)
})

test("a catalog that its site did not sign is refused, and nothing is taken", async () => {
  const bad = await tampered(await exported("signed.tar", "rhel:10"), "unsigned.tar", (directory) => {
    const path = join(directory, "catalogs/cineca.tar")
    const text = readFileSync(path, "latin1").replaceAll('"entryCount":2', '"entryCount":3')
    writeFileSync(path, text, "latin1")
  })
  await assert.rejects(take(lab.home, bad), { code: "CATALOG_INVALID" })
})

test("an archive with other files, links, climbing paths, or a cut, is no export", async () => {
  const good = await exported("good.tar", "rhel:10")
  const cases: Record<string, Promise<string>> = {
    stranger: tampered(good, "stranger.tar", (directory) => writeFileSync(join(directory, "notes"), "x")),
    "a catalog of no site": tampered(good, "upper.tar", (directory) =>
      copyFileSync(join(directory, "catalogs/cineca.tar"), join(directory, "catalogs/UPPER.tar")),
    ),
    "no catalog": tampered(good, "bare.tar", (directory) => rmSync(join(directory, "catalogs/cineca.tar"))),
    "a link": tampered(good, "link.tar", (directory) => {
      rmSync(join(directory, "catalogs/cineca.tar"))
      symlinkSync("/etc/passwd", join(directory, "catalogs/cineca.tar"))
    }),
  }
  writeFileSync(fileOf("cut.tar"), readFileSync(good).subarray(0, 5_000))
  writeFileSync(fileOf("noise.tar"), Buffer.alloc(5_000, 7))
  const files = [...(await Promise.all(Object.values(cases))), fileOf("cut.tar"), fileOf("noise.tar")]
  for (const file of files) await assert.rejects(take(lab.home, file), { code: "BUNDLE_INVALID" }, file)
  await assert.rejects(take(lab.home, fileOf("nowhere.tar")), { code: "SOURCE_MISSING" })
  assert.deepEqual(readdirSync(lab.home.path("importing")), [])
})

test("another server of the own site takes an image without running, though the catalog in the file has lapsed", async () => {
  const home = await cineca.joinServer("island").catch(() => null)
  assert.equal(home, null, "the control: no server of the site runs")
  await lab.publish("local:1")
  const island = await lab.joinServer("island")
  await lab.publish("local:2")
  const file = fileOf("local.tar")
  await exportBundle(partsOf(lab.home), [imageQuery("local:2")], file)
  const later = { nowMs: () => Date.now() + 5 * 24 * 3_600_000 }
  const taken = await importBundle({ ...partsOf(island), clock: later }, file)
  assert.deepEqual([taken.images, taken.newerCatalogs], [["local:2"], ["lab"]])
  await using layers = await LayerStore.open(island.path("layers"))
  assert.equal((await layers.infohashes()).length, 2)
  for (const infohash of await layers.infohashes()) assert.ok(await layers.isWhole(infohash))
})

test("a client's home is no place to import to, and what is not held can't be exported", async () => {
  const client = await lab.join("client")
  await assert.rejects(take(client, fileOf("local.tar")), { code: "ROLE_WRONG" })
  await assert.rejects(exportBundle(partsOf(client), [imageQuery("local:2")], fileOf("none.tar")), { code: "SEEDERS_MISSING" })
  assert.equal(existsSync(fileOf("none.tar")), false)
})
