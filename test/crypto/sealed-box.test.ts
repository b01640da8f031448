import assert from "node:assert/strict"
import { test } from "node:test"
import { sealingKeyFromSecret } from "#crypto/identity.ts"
import { openSealed, sealTo } from "#crypto/sealed-box.ts"
import { seededRandom, seedOf } from "./site.ts"

const mine = sealingKeyFromSecret(seedOf("mine"))
const other = sealingKeyFromSecret(seedOf("other"))
const random = seededRandom("sealed-box")

test("what is sealed to a key comes out with it, whatever its length", () => {
  for (const length of [0, 1, 32, 100_000]) {
    const plain = Buffer.alloc(length, 7)
    assert.deepEqual(openSealed(mine, "test", sealTo(mine.publicKeyHex, "test", plain, random)), plain)
  }
})

test("another key opens nothing", () => {
  assert.equal(openSealed(other, "test", sealTo(mine.publicKeyHex, "test", Buffer.from("x"), random)), null)
})

test("what is sealed for one purpose does not open for another, even one that it begins with", () => {
  const sealed = sealTo(mine.publicKeyHex, "test", Buffer.from("ing"), random)
  for (const purpose of ["tes", "testing", "other"]) assert.equal(openSealed(mine, purpose, sealed), null, purpose)
})

test("every changed, missing or added byte is noticed", () => {
  const sealed = sealTo(mine.publicKeyHex, "test", Buffer.from("a secret"), random)
  for (let at = 0; at < sealed.length; at++) {
    const changed = Buffer.from(sealed)
    changed[at] = (changed[at] ?? 0) ^ 0x10
    assert.equal(openSealed(mine, "test", changed), null, `byte ${at}`)
    assert.equal(openSealed(mine, "test", sealed.subarray(0, at)), null, `${at} bytes`)
  }
  assert.equal(openSealed(mine, "test", Buffer.concat([sealed, Buffer.of(0)])), null)
})

test("the same plain text seals to other bytes each time", () => {
  const [first, second] = [1, 2].map(() => sealTo(mine.publicKeyHex, "test", Buffer.from("x"), random).toString("hex"))
  assert.notEqual(first, second)
})

test("a key or purpose out of form is the caller's mistake", () => {
  assert.throws(() => sealTo("00", "test", Buffer.alloc(1), random), TypeError)
  assert.throws(() => sealTo(mine.publicKeyHex, "", Buffer.alloc(1), random), RangeError)
  assert.throws(() => sealTo(mine.publicKeyHex, "x".repeat(256), Buffer.alloc(1), random), RangeError)
})
