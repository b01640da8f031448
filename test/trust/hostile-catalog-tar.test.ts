/** The danger: a catalog file of unknown origin holds what a tar may hold: links, devices, climbing paths, bombs. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { gzipSync } from "node:zlib"
import { Header, type HeaderData } from "tar"
import { packCatalog, unpackCatalog } from "#trust/catalog-file.ts"
import { newRepository, refusedWith, withImages } from "./repositories.ts"

const files = withImages(newRepository(), "debian:1")
const good = await packCatalog(files)
const refused = refusedWith("CATALOG_INVALID", /catalog file/)
const content = Buffer.from("{}")

function entry(header: HeaderData, body: Buffer = content): Buffer {
  const block = Buffer.alloc(512)
  new Header({
    path: "metadata/x.json",
    type: "File",
    size: body.length,
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: new Date(0),
    ...header,
  }).encode(block)
  return Buffer.concat([block, body, Buffer.alloc((512 - (body.length % 512)) % 512)])
}
const archive = (...entries: Buffer[]): Buffer => Buffer.concat([...entries, Buffer.alloc(1024)])

test("a single plain file is taken: the control", async () => {
  assert.deepEqual(await unpackCatalog(archive(entry({}))), new Map([["metadata/x.json", content]]))
})

test("every kind of entry but a plain file is refused", async () => {
  const types = [
    "Link",
    "SymbolicLink",
    "CharacterDevice",
    "BlockDevice",
    "Directory",
    "FIFO",
    "ContiguousFile",
    "ExtendedHeader",
    "GlobalExtendedHeader",
  ] as const
  for (const type of [...types, "NextFileHasLongPath", "NextFileHasLongLinkpath", "GNUDumpDir", "SparseFile", "OldFile"] as const)
    await assert.rejects(unpackCatalog(archive(entry({ type, linkpath: "/etc/passwd" }))), refused, type)
})

test("a path that climbs, starts at the root, or is not a catalog's is refused", async () => {
  for (const path of [
    "../x.json",
    "/metadata/x.json",
    "metadata/../x.json",
    "metadata//x.json",
    "metadata/X.json",
    "./metadata/x.json",
    "targets/images/a.json",
    "targets/images/a/b/c/d/e/1.json",
    "targets/grants/a/.b.json",
    "metadata/x.json\n",
  ])
    await assert.rejects(unpackCatalog(archive(entry({ path }))), refused, path)
})

test("a name given twice is refused", async () => {
  await assert.rejects(unpackCatalog(archive(entry({}), entry({}, Buffer.from("[]")))), refused)
})

test("owners, modes, times, another order and bytes in the padding are refused: one catalog, one form", async () => {
  for (const header of [{ uid: 1 }, { mode: 0o755 }, { mtime: new Date(1_000_000) }, { uname: "root" }])
    await assert.rejects(unpackCatalog(archive(entry(header))), refused, JSON.stringify(header))
  await assert.rejects(unpackCatalog(archive(entry({ path: "metadata/b.json" }), entry({ path: "metadata/a.json" }))), refused)
  const padded = archive(entry({}))
  padded[512 + content.length] = 1
  await assert.rejects(unpackCatalog(padded), refused)
})

test("a size that lies is refused, whether it is more than there is or not a number", async () => {
  for (const size of [0, 513, 100_000, 8 * 1024 ** 3]) {
    const lying = archive(entry({}))
    new Header({ path: "metadata/x.json", type: "File", size, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) }).encode(lying, 0)
    await assert.rejects(unpackCatalog(lying), refused, String(size))
  }
  for (const size of ["77777777777\0", "-0000000001\0", "x", "\xff".repeat(12), "\x80" + "\0".repeat(3) + "\xff".repeat(8)]) {
    const lying = archive(entry({}))
    lying.write(size.padEnd(12, "\0"), 124, "latin1")
    await assert.rejects(unpackCatalog(withChecksum(lying)), refused, JSON.stringify(size))
  }
})

test("a compressed archive is refused unread: no bomb is unpacked", async () => {
  await assert.rejects(unpackCatalog(gzipSync(good)), refused)
})

test("an archive that is cut, empty, longer than it should be, or over the limit is refused", async () => {
  for (let length = 0; length < good.length; length += 512)
    await assert.rejects(unpackCatalog(good.subarray(0, length)), refused, `${length}`)
  await assert.rejects(unpackCatalog(good.subarray(0, -1)), refused)
  await assert.rejects(unpackCatalog(Buffer.concat([good, Buffer.alloc(512)])), refused)
  await assert.rejects(unpackCatalog(Buffer.concat([good, good])), refused)
  await assert.rejects(unpackCatalog(Buffer.alloc(64 * 1024 * 1024 + 1)), refused)
})

test("one changed byte anywhere in a header is refused; in a file it is left to the signatures", async () => {
  for (let at = 0; at < 512; at++) {
    const changed = Buffer.from(good)
    changed[at] = (changed[at] ?? 0) ^ 1
    await assert.rejects(unpackCatalog(changed), refused, `byte ${at}`)
  }
})

function withChecksum(archived: Buffer): Buffer {
  archived.fill(" ", 148, 156)
  const sum = archived.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  archived.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1")
  return archived
}
