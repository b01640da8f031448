import assert from "node:assert/strict"
import { test } from "node:test"
import fc from "fast-check"
import { targetPath } from "#core/documents.ts"
import { imageRef } from "#core/identifiers.ts"
import { maySign } from "#trust/delegation.ts"
import { pathsOfPattern, patternsOfPaths } from "#trust/name-patterns.ts"
import { refusedWith } from "./repositories.ts"

const role = (...patterns: readonly string[]) => ({
  name: "p",
  keyids: ["ab".repeat(32)],
  threshold: 1,
  terminating: true,
  paths: patterns.flatMap(pathsOfPattern),
})
const signs = (pattern: string, image: string) => {
  const ref = imageRef(image)
  return maySign(role(pattern), [targetPath.manifest(ref), targetPath.grants(ref), targetPath.tags(ref.name)])
}

test("hpc/* is everything below hpc at any depth, * is everything, a name is itself alone", () => {
  for (const image of ["hpc/a:1", "hpc/a/b:1", "hpc/a/b/c:1"]) assert.ok(signs("hpc/*", image), image)
  for (const image of ["hpc:1", "hpcx/a:1", "x/hpc/a:1"]) assert.ok(!signs("hpc/*", image), image)
  for (const image of ["a:1", "a/b:1", "a/b/c/d:1.0_x"]) assert.ok(signs("*", image), image)
  assert.ok(signs("web", "web:1") && !signs("web", "web/a:1") && !signs("web", "webb:1"))
  assert.ok(signs("deb*", "debian:1") && signs("deb*", "deb:1") && !signs("deb*", "debian/x:1"))
  assert.ok(signs("*/web", "a/web:1") && !signs("*/web", "web:1") && !signs("*/web", "a/b/web:1"))
})

test("tags of an image are within the very patterns that the image is within", () => {
  for (const pattern of ["*", "hpc/*", "web", "deb*", "*/web", "a/b/c/d"])
    for (const name of [
      "web",
      "deb",
      "debian",
      "hpc",
      "hpc/a",
      "hpc/a/b",
      "hpc/a/b/c",
      "a/web",
      "a/b/c/d",
      "a/b/web",
      "web.json",
      "deb/web",
    ]) {
      const ref = imageRef(`${name}:1`)
      assert.equal(
        maySign(role(pattern), [targetPath.tags(ref.name)]),
        maySign(role(pattern), [targetPath.manifest(ref)]),
        `${pattern} ${name}`,
      )
    }
})

test("a pattern of five segments, of other characters or without any is refused", () => {
  for (const pattern of ["", "a/b/c/d/e", "A", "../a", "a//b", "a/", "/a", "{a,b}", "!a", "a?", "[a]", "a b", "x".repeat(200)])
    assert.throws(() => pathsOfPattern(pattern), refusedWith("NAME_INVALID"), pattern)
})

test("the patterns of a role's paths are those that it was made of", () => {
  const segment = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,5}\*?$/)
  const pattern = fc
    .tuple(fc.array(segment, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([segments, below]) => [...segments, ...(below ? ["*"] : [])].join("/"))
  fc.assert(
    fc.property(pattern, (one) => {
      assert.deepEqual(patternsOfPaths(pathsOfPattern(one)), [one])
    }),
  )
  assert.deepEqual(patternsOfPaths(pathsOfPattern("*")), ["*"])
  assert.deepEqual(patternsOfPaths([...pathsOfPattern("hpc/*"), ...pathsOfPattern("web")]).sort(), ["hpc/*", "web"])
  assert.deepEqual(patternsOfPaths(["images/x/*.json"]), ["images/x/*.json"], "without its grants no pattern says it")
})
