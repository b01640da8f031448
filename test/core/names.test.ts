import assert from "node:assert/strict"
import { test } from "node:test"
import { address, formatAddress } from "../../core/address.ts"
import {
  formatImageRef,
  imageName,
  imageQuery,
  imageRef,
  imageVersion,
  infohash,
  memberId,
  sha256,
  siteName,
} from "../../core/identifiers.ts"

test("image names have one to four segments that cannot climb, hide or match as a pattern", () => {
  for (const name of ["a", "hpc/debian", "a/b/c/d", "x".repeat(128), "debian-12.5_x"]) assert.equal(imageName(name), name)
  for (const name of [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "a/b/c/d/e",
    "..",
    "a/../b",
    ".a",
    "A",
    "a b",
    "a*",
    "a{b}",
    "ä",
    "x".repeat(129),
    "a\n",
  ])
    assert.throws(() => imageName(name), { code: "NAME_INVALID" }, JSON.stringify(name))
})

test("versions are single words", () => {
  for (const version of ["1", "2026.11", "v1_rc-2"]) assert.equal(imageVersion(version), version)
  for (const version of ["", "a/b", "-1", ".1", "1 ", "V1", "x".repeat(65)])
    assert.throws(() => imageVersion(version), { code: "NAME_INVALID" })
})

test("NAME:VERSION is read and written back; a version may be left out only where the newest can be meant", () => {
  assert.equal(formatImageRef(imageRef("hpc/debian:12")), "hpc/debian:12")
  assert.deepEqual(imageQuery("hpc/debian"), { name: "hpc/debian", version: null })
  assert.throws(() => imageRef("hpc/debian"), { code: "NAME_INVALID" })
  assert.throws(() => imageQuery("debian:1:2"), { code: "NAME_INVALID" })
})

test("digests and ids have their exact length in lower-case hex", () => {
  assert.equal(sha256("a".repeat(64)).length, 64)
  assert.equal(infohash("a".repeat(40)).length, 40)
  assert.equal(memberId("a".repeat(32)).length, 32)
  for (const check of [sha256, infohash, memberId, siteName]) assert.throws(() => check("A".repeat(40)), { code: "NAME_INVALID" })
})

test("addresses are HOST:PORT, and port 0 is for listening alone", () => {
  assert.equal(formatAddress(address("192.0.2.7:7401")), "192.0.2.7:7401")
  assert.deepEqual(address("node-1.example:0", { anyPort: true }), { host: "node-1.example", port: 0 })
  for (const text of [
    "",
    ":1",
    "host",
    "host:",
    "host:0",
    "host:65536",
    "host:1e3",
    "host:+1",
    "ho st:1",
    "-host:1",
    "[::1]:1",
    "http://host:1",
  ])
    assert.throws(() => address(text), { code: "ADDRESS_INVALID" }, text)
})
