import assert from "node:assert/strict"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { byteString, printable, type ByteString } from "#image/byte-string.ts"
import { comparePaths, type Entry } from "#image/entry.ts"
import { decodeIndex, encodeIndex, ownershipNeeds } from "#image/tree-index.ts"
import { dice } from "./support.ts"

const bytes = (text: string) => text as ByteString
const common = { mode: 0o644, uid: 1000, gid: 1000, mtimeNs: 1_795_383_257_079_567_527n, xattrs: [] }
const file = { ...common, kind: "file" as const, size: 3, sha256: "ab".repeat(32) as Sha256, zeroBlocks: 0 }
const top: Entry = { ...common, path: bytes("."), kind: "directory", mode: 0o1755 }

const everyKind: Entry[] = [
  top,
  {
    ...file,
    path: bytes("a"),
    xattrs: [
      [bytes("user.a"), bytes("\0\xff\n")],
      [bytes("user.b"), bytes("")],
    ],
  },
  { ...common, path: bytes("b"), kind: "hardlink", target: bytes("a") },
  { ...common, path: bytes("c"), kind: "directory", mtimeNs: -1_500_000_000n },
  { ...common, path: bytes('c/d "\\%\n\x7f\xe9'), kind: "symlink", target: bytes("/any/../thing\xff") },
  { ...common, path: bytes("e"), kind: "fifo" },
  { ...common, path: bytes("f"), kind: "char-device", major: 1, minor: 1_048_575 },
  { ...common, path: bytes("g"), kind: "block-device", major: 0, minor: 0 },
  { ...file, path: bytes("h"), size: 2 ** 45, zeroBlocks: 5 },
]

const shown = (text: string | Buffer) => printable(byteString(Buffer.from(text)))

const isInvalid = (error: unknown) => error instanceof GridError && error.code === "INDEX_INVALID"

test("an index that was encoded decodes to the same entries, and encodes to the same bytes", () => {
  const encoded = encodeIndex(everyKind)
  const index = decodeIndex(encoded)
  assert.deepEqual([...index.entries()], everyKind)
  assert.deepEqual([...index.entries()], everyKind, "it can be read again")
  assert.equal(index.entryCount, everyKind.length)
  assert.equal(index.fileBytes, 3 + 2 ** 45)
  assert.ok(encodeIndex(index.entries()).equals(encoded))
  assert.match(encoded.toString("latin1"), /^[\n -~]*$/, "it is ASCII")
})

test("any name that Linux takes survives", () => {
  const random = dice(77)
  const names = new Set<ByteString>()
  while (names.size < 500) {
    const name = Buffer.from(Array.from({ length: 1 + Math.floor(random() * 255) }, () => Math.floor(random() * 256))).subarray(0, 255)
    const usable = byteString(name.filter((byte) => byte !== 0 && byte !== 0x2f))
    if (usable !== "" && usable !== "." && usable !== "..") names.add(usable)
  }
  const entries: Entry[] = [top]
  for (const path of [...names].sort(comparePaths)) entries.push({ ...file, path })
  assert.deepEqual([...decodeIndex(encodeIndex(entries)).entries()], entries)
})

test("a line in any other than the one form is refused", () => {
  const good = encodeIndex(everyKind).toString("latin1")
  decodeIndex(Buffer.from(good))
  const changes: [string, string | RegExp, string][] = [
    ["another format", "imagegrid-index-1", "imagegrid-index-2"],
    ["a space", '"uid":1000', '"uid": 1000'],
    ["a float", '"uid":1000', '"uid":1e3'],
    ["a negative owner", '"uid":1000', '"uid":-1'],
    ["a huge number", '"minor":1048575', '"minor":99999999999999999999'],
    ["another order of fields", '"uid":1000,"gid":1000', '"gid":1000,"uid":1000'],
    ["a field of another kind", '"kind":"fifo"', '"kind":"fifo","target":"x"'],
    ["an unknown kind", '"kind":"fifo"', '"kind":"door"'],
    ["an unknown field", '"size":3,', '"size":3,"x":1,'],
    ["a mode of three digits", '"mode":"0644"', '"mode":"644"'],
    ["a mode too large", '"mode":"0644"', '"mode":"10644"'],
    ["an escape that is not needed", '"path":"a"', '"path":"%61"'],
    ["an escape in lower case", "%0A", "%0a"],
    ["a byte that needs one", '"path":"a"', '"path":"\u00e9"'],
    ["an upper-case digest", "abab", "ABAB"],
    ["base64 without its end", "AP8K", "AP8"],
    ["xattrs out of order", "user.a", "user.c"],
    ["an xattr twice", "user.b", "user.a"],
    ["no zero blocks, said", '"zeroBlocks":5', '"zeroBlocks":0'],
    ["an mtime with a plus", '"mtimeNs":"1795', '"mtimeNs":"+1795'],
    ["an mtime with a leading zero", '"mtimeNs":"1795', '"mtimeNs":"01795'],
    ["an empty name", '"path":"a"', '"path":""'],
    ["an absolute name", '"path":"a"', '"path":"/a"'],
    ["a name that climbs", '"path":"a"', '"path":"../a"'],
    ["a name with a zero byte", '"path":"a"', '"path":"a%00"'],
    ["a name of 256 bytes", '"path":"h"', `"path":"${"h".repeat(256)}"`],
    ["a name in what is no directory", '"path":"b"', '"path":"a/b"'],
    ["names out of order", '"path":"e"', '"path":"b"'],
    ["a hard link to what comes later", '"target":"a"', '"target":"z"'],
    ["no top directory", /\{"path":"\."[^\n]*\n/, ""],
    ["an entry less than counted", /\{"path":"e"[^\n]*\n/, ""],
    ["another count", '"entries":9', '"entries":8'],
    ["other bytes", /"fileBytes":\d+/, '"fileBytes":3'],
    ["no last line", /\{"entries"[^\n]*\n/, ""],
    ["a last line cut off", /\n$/, ""],
    ["something behind it", /$/, "\n"],
    ["an empty line", "\n", "\n\n"],
    ["no JSON", '{"path":"e"', '"path":"e"'],
    ["a list", /\{"path":"e"[^\n]*/, "[]"],
    ["null", /\{"path":"e"[^\n]*/, "null"],
  ]
  for (const [what, from, to] of changes) {
    const changed = good.replace(from, to)
    assert.notEqual(changed, good, what)
    assert.throws(() => decodeIndex(Buffer.from(changed)), isInvalid, what)
  }
  for (const nothing of [
    "",
    "\n",
    "{}",
    '{"format":"imagegrid-index-1"}\n',
    '{"format":"imagegrid-index-1"}\n{"entries":0,"fileBytes":0}\n',
  ])
    assert.throws(() => decodeIndex(Buffer.from(nothing)), isInvalid, JSON.stringify(nothing))
})

test("bytes changed at random are refused or still canonical, and nothing else is thrown", () => {
  const good = encodeIndex(everyKind)
  const random = dice(5)
  for (let round = 0; round < 3_000; round += 1) {
    const changed = Buffer.from(good)
    const at = Math.floor(random() * changed.length)
    changed[at] = Math.floor(random() * 256)
    try {
      assert.ok(encodeIndex(decodeIndex(changed).entries()).equals(changed), `byte ${at} to ${changed[at]}`)
    } catch (error) {
      assert.ok(isInvalid(error), `byte ${at} to ${changed[at]}: ${String(error)}`)
    }
  }
})

test("entries stand in the order of tar: a directory, then what is in it, names by their bytes", () => {
  const order = [".", "a", "a/b", "a/b/c", "a/b\x01", "a!", "a.b", "a0", "b", "\xc3", "\xff"].map(bytes)
  assert.deepEqual(order.toReversed().sort(comparePaths), order)
})

test("ownershipNeeds() names what only root can make", () => {
  const as = { uid: 1000, gid: 1000 }
  const needs = (...entries: Entry[]) => ownershipNeeds(decodeIndex(encodeIndex([top, ...entries])), as)
  assert.deepEqual(needs({ ...file, path: bytes("a") }), { root: false, why: null })
  assert.deepEqual(needs({ ...file, path: bytes("a"), uid: 0 }), { root: true, why: "a belongs to 0:1000, not to 1000:1000" })
  assert.deepEqual(needs({ ...common, path: bytes("a"), kind: "char-device", major: 1, minor: 3 }), { root: true, why: "a is a device" })
  assert.deepEqual(needs({ ...file, path: bytes("a"), xattrs: [[bytes("security.capability"), bytes("x")]] }), {
    root: true,
    why: "a is with the extended attribute security.capability",
  })
  assert.deepEqual(needs({ ...file, path: bytes("a"), xattrs: [[bytes("user.x"), bytes("x")]] }), { root: false, why: null })
})

test("printable() shows UTF-8 and makes everything else visible", () => {
  assert.equal(shown("naïve/日本"), "naïve/日本")
  assert.equal(shown("a\nb\u001b[31m\\"), "a\\x0ab\\x1b[31m\\x5c")
  assert.equal(shown("evil\u202etxt"), "evil\\xe2\\x80\\xaetxt")
  assert.equal(shown(Buffer.from([0x61, 0xff, 0xc3, 0xa9])), "a\\xff\\xc3\\xa9")
})
