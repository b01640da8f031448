import assert from "node:assert/strict"
import { test } from "node:test"
import type { Sha256 } from "#core/identifiers.ts"
import type { ByteString } from "#image/byte-string.ts"
import type { Entry } from "#image/entry.ts"
import { overlay } from "#image/overlay.ts"
import { decodeIndex, encodeIndex } from "#image/tree-index.ts"

const common = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 1n, xattrs: [] } as const
const directory = (path: string, mode = 0o755): Entry => ({ ...common, path: path as ByteString, kind: "directory", mode })
const file = (path: string, content: string): Entry => ({
  ...common,
  path: path as ByteString,
  kind: "file",
  size: 1,
  sha256: content.repeat(64) as Sha256,
  zeroBlocks: 0,
})
const link = (path: string, target: string): Entry => ({
  ...common,
  path: path as ByteString,
  kind: "hardlink",
  target: target as ByteString,
})
const paths = (entries: readonly Entry[]) =>
  entries.map(
    (entry) =>
      `${entry.path} ${entry.kind === "file" ? entry.sha256[0] : entry.kind === "hardlink" ? `= ${entry.target}` : entry.mode.toString(8)}`,
  )

test("what an override has takes the place of what the image has, but for directories that both have", () => {
  const base = [directory(".", 0o700), directory("etc"), file("etc/a", "1"), file("etc/b", "2")]
  const over = [directory(".", 0o777), directory("etc", 0o777), file("etc/b", "3"), directory("etc/new", 0o711), file("etc/new/c", "4")]
  const laid = overlay(base, over)
  assert.deepEqual(paths(laid), [". 700", "etc 755", "etc/a 1", "etc/b 3", "etc/new 711", "etc/new/c 4"])
  // In the order of an index, which takes nothing else.
  assert.equal(decodeIndex(encodeIndex(laid)).entryCount, 6)
  assert.deepEqual(overlay(base, [directory("."), directory("etc", 0o711)]), base)
})

test("the other names of a file stay one file when one of them is laid over", () => {
  const base = [directory("."), file("a", "1"), link("b", "a"), link("c", "a"), link("d", "a")]
  assert.deepEqual(paths(overlay(base, [directory("."), file("a", "2")])), [". 755", "a 2", "b 1", "c = b", "d = b"])
  assert.deepEqual(paths(overlay(base, [directory("."), file("a", "2"), file("b", "3")])), [". 755", "a 2", "b 3", "c 1", "d = c"])
  assert.deepEqual(paths(overlay(base, [directory("."), file("c", "2")])), [". 755", "a 1", "b = a", "c 2", "d = a"])
  const own = [directory("."), file("x", "5"), link("y", "x")]
  assert.deepEqual(paths(overlay(base, own)).slice(-2), ["x 5", "y = x"])
})

test("a directory in the place of something else, or the reverse, is a conflict and named", () => {
  const base = [directory("."), directory("etc"), file("etc/a", "1"), file("plain", "2")]
  assert.throws(() => overlay(base, [directory("."), file("etc", "3")]), {
    code: "OVERRIDE_CONFLICT",
    message: /etc is a directory in the image/,
  })
  assert.throws(() => overlay(base, [directory("."), directory("plain"), file("plain/x", "3")]), {
    code: "OVERRIDE_CONFLICT",
    message: /plain is a file/,
  })
})
