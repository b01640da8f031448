import assert from "node:assert/strict"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test } from "node:test"
import { byteString, type ByteString } from "#image/byte-string.ts"
import { leftOut, mountsBelow } from "#image/left-out.ts"
import { pathMatcher } from "#image/path-patterns.ts"
import { temporaryDirectory } from "./support.ts"

const path = (text: string) => byteString(Buffer.from(text))

test("mounts are told below a directory, with what of them is the kernel's", () => {
  const text = [
    "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw",
    "23 22 0:21 / /srv/root/proc rw - proc proc rw",
    "24 22 0:22 / /srv/root/var/a\\040b\\134c rw,nosuid shared:5 master:2 - tmpfs tmpfs rw",
    "25 22 254:2 / /srv/root/boot rw - vfat /dev/vda2 rw",
    "26 22 0:23 / /srv/rootless rw - tmpfs tmpfs rw",
    "27 25 0:24 / /srv/root/boot rw - tmpfs tmpfs rw",
    "28 22 0:25 / /srv/root rw - tmpfs tmpfs rw",
    "",
  ].join("\n")
  assert.deepEqual(mountsBelow(text, path("/srv/root")), [
    { path: "proc", isOfKernel: true },
    { path: "var/a b\\c", isOfKernel: false },
    { path: "boot", isOfKernel: false },
  ])
  assert.equal(mountsBelow(text, path("/")).length, 5)
})

test("patterns name a path and what is below it, stars within a name or across names", () => {
  const cases: [pattern: string, matched: string[], others: string[]][] = [
    ["/etc/machine-id", ["etc/machine-id", "etc/machine-id/x"], ["etc/machine-id2", "etc", "x/etc/machine-id"]],
    ["var/log/", ["var/log", "var/log/a/b"], ["var/logs", "var"]],
    ["/home/*/.cache", ["home/a/.cache", "home/b/.cache/x"], ["home/.cache", "home/a/b/.cache"]],
    ["**/.git", ["a/.git", "a/b/.git/x"], [".git", "a/.gitignore"]],
    ["/a.b+(c)[d]", ["a.b+(c)[d]"], ["aXb+(c)[d]", "a.bb(c)d"]],
    ["/ü*", ["ünder", "ü"], ["under"]],
    ["/tmp*", ["tmp", "tmp2"], ["tm"]],
  ]
  for (const [pattern, matched, others] of cases) {
    const matches = pathMatcher([pattern])
    for (const one of matched) assert.ok(matches(path(one)), `${pattern} names ${one}`)
    for (const one of others) assert.ok(!matches(path(one)), `${pattern} does not name ${one}`)
  }
  for (const pattern of ["", "/", "//", "*".repeat(9), "a".repeat(300), "a\0b"])
    assert.throws(() => pathMatcher([pattern]), { code: "NAME_INVALID" }, pattern)
  assert.throws(() => pathMatcher(Array.from({ length: 200 }, (_, number) => `/${number}`)), { code: "NAME_INVALID" })
  // Stars by which a search that goes back would take years.
  assert.ok(!pathMatcher(["/**a**a**a**ab"])(path("a".repeat(4_000))))
  assert.ok(pathMatcher(["/**a**a**a**ab"])(path(`${"a".repeat(4_000)}b/c`)))
})

test("what is excluded is named by its topmost names, however many are below", async (t) => {
  const top = await temporaryDirectory(t)
  for (const directory of ["var/log/deep", "home/a/.cache/x", "home/b/.cache", "etc"]) mkdirSync(join(top, directory), { recursive: true })
  for (const file of ["var/log/deep/file", "home/a/.cache/x/y", "etc/machine-id", "etc/hostname"]) writeFileSync(join(top, file), "")
  const out = await leftOut(top, ["/var/log", "/home/*/.cache", "/etc/machine-id", "/absent"], [])
  assert.deepEqual([...out.paths].sort(), ["etc/machine-id", "home/a/.cache", "home/b/.cache", "var/log"])
  for (const one of ["var/log", "var/log/new", "absent", "home/c/.cache"]) assert.ok(out.has(one as ByteString), one)
  for (const one of ["var", "etc/hostname", "home/a"]) assert.ok(!out.has(one as ByteString), one)
  assert.deepEqual((await leftOut(top, [], [])).paths, [])
  for (let number = 0; number < 4_001; number += 1) writeFileSync(join(top, "etc", `many-${number}`), "")
  await assert.rejects(leftOut(top, ["/etc/many-*"], []), { code: "TARGET_UNSUITABLE" })
})
