import assert from "node:assert/strict"
import { test } from "node:test"
import type { Sha256 } from "#core/identifiers.ts"
import type { ByteString } from "#image/byte-string.ts"
import { comparePaths, type Entry } from "#image/entry.ts"
import { changesBetween, type Change, type ChangeKind } from "#image/tree-diff.ts"
import { decodeIndex, encodeIndex } from "#image/tree-index.ts"
import { dice } from "./support.ts"

const bytes = (text: string) => text as ByteString
const common = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 5n, xattrs: [] }
const top: Entry = { ...common, path: bytes("."), kind: "directory" }
const file = { ...common, kind: "file" as const, size: 3, sha256: "ab".repeat(32) as Sha256, zeroBlocks: 0 }
const link = { ...common, path: bytes("p"), kind: "symlink" as const, target: bytes("a") }
const device = { ...common, path: bytes("p"), kind: "char-device" as const, major: 1, minor: 3 }
const p = { ...file, path: bytes("p") }

const told = (changes: Iterable<Change>) =>
  [...changes].map(({ path, before, after, what }) => `${path} ${before?.kind ?? "nothing"} ${after?.kind ?? "nothing"} ${what.join()}`)

test("what is gone, new and changed comes in the order of paths", () => {
  const before: Entry[] = [top, { ...file, path: bytes("a") }, { ...file, path: bytes("b") }, { ...file, path: bytes("c") }]
  const after: Entry[] = [
    { ...top, mode: 0o755 },
    { ...file, path: bytes("a!") },
    { ...file, path: bytes("b") },
    { ...file, path: bytes("c"), size: 4 },
    { ...common, path: bytes("d"), kind: "fifo" },
  ]
  const indexes = [before, after].map((entries) => decodeIndex(encodeIndex(entries)))
  assert.deepEqual(told(changesBetween(indexes[0]!.entries(), indexes[1]!.entries())), [
    ". directory directory mode",
    "a file nothing ",
    "a! nothing file ",
    "c file file content",
    "d nothing fifo ",
  ])
})

test("each thing in which an entry can differ has its name", () => {
  const cases: [Entry, Entry, ChangeKind[]][] = [
    [p, { ...p, size: 4 }, ["content"]],
    [p, { ...p, sha256: "cd".repeat(32) as Sha256 }, ["content"]],
    [p, { ...p, zeroBlocks: 1 }, ["content"]],
    [p, { ...p, mode: 0o4644 }, ["mode"]],
    [p, { ...p, uid: 1 }, ["owner"]],
    [p, { ...p, gid: 1 }, ["owner"]],
    [p, { ...p, mtimeNs: 6n }, ["mtime"]],
    [p, { ...p, xattrs: [[bytes("user.a"), bytes("")]] }, ["xattr"]],
    [
      {
        ...p,
        xattrs: [
          [bytes("user.a"), bytes("1")],
          [bytes("user.b"), bytes("1")],
        ],
      },
      { ...p, xattrs: [[bytes("user.a"), bytes("2")]] },
      ["xattr"],
    ],
    [link, { ...link, target: bytes("b") }, ["link"]],
    [{ ...link, kind: "hardlink" }, { ...link, kind: "hardlink", target: bytes("b") }, ["link"]],
    [device, { ...device, minor: 4 }, ["device"]],
    [device, { ...device, major: 2 }, ["device"]],
    [device, { ...device, kind: "block-device" }, ["kind"]],
    [p, { ...link, mode: 0o777 }, ["kind"]],
    [p, { ...p, size: 4, mode: 0o600, mtimeNs: 7n }, ["content", "mode", "mtime"]],
  ]
  for (const [before, after, what] of cases) {
    const expected: Change[] = [{ path: bytes("p"), before, after, what }]
    assert.deepEqual([...changesBetween([before], [after])], expected)
    assert.deepEqual([...changesBetween([after], [before])], [{ path: bytes("p"), before: after, after: before, what }])
    assert.deepEqual([...changesBetween([before], [before])], [])
  }
})

test("an empty listing has nothing of the other", () => {
  assert.deepEqual(told(changesBetween([], [])), [])
  assert.deepEqual(told(changesBetween([top, p], [])), [". directory nothing ", "p file nothing "])
  assert.deepEqual(told(changesBetween([], [top, p])), [". nothing directory ", "p nothing file "])
})

const names = ["a", "a/b", "a!", "b", "b/c", "b/c/d", "c", "\xff"].map(bytes).sort(comparePaths)

/** A listing, not a tree: each name is there or not, as the dice say, in one of a few forms. */
function randomListing(random: () => number): Entry[] {
  const forms: ((path: ByteString) => Entry)[] = [
    (path) => ({ ...file, path }),
    (path) => ({ ...file, path, size: 9 }),
    (path) => ({ ...file, path, mode: 0o600 }),
    (path) => ({ ...link, path }),
    (path) => ({ ...common, path, kind: "directory" }),
  ]
  return names.filter(() => random() < 0.7).map((path) => forms[Math.floor(random() * forms.length)]!(path))
}

test("the changes make the one listing of the other, and name no path that stayed", () => {
  const seed = 20
  const random = dice(seed)
  for (let round = 0; round < 500; round += 1) {
    const [before, after] = [randomListing(random), randomListing(random)]
    const result = new Map(before.map((entry) => [entry.path, entry]))
    for (const change of changesBetween(before, after)) {
      assert.deepEqual(change.before, result.get(change.path) ?? null, `seed ${seed}, round ${round}`)
      assert.notDeepEqual(change.before, change.after, `seed ${seed}, round ${round}`)
      assert.equal(change.what.length === 0, change.before === null || change.after === null, `seed ${seed}, round ${round}`)
      if (change.after === null) result.delete(change.path)
      else result.set(change.path, change.after)
    }
    const sorted = [...result.values()].sort((a, b) => comparePaths(a.path, b.path))
    assert.deepEqual(sorted, after, `seed ${seed}, round ${round}`)
  }
})
