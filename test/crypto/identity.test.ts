import assert from "node:assert/strict"
import { createHash, createPublicKey, hkdfSync, verify as verifyBytes } from "node:crypto"
import { test } from "node:test"
import nacl from "tweetnacl"
import { memberIdentity, memberIdOf, publicKeyDer, sealingKeyFromSecret, sign, signingKeyFromSeed, verify } from "#crypto/identity.ts"
import { seedOf } from "./site.ts"

test("one seed gives one identity, and another seed another in every part", () => {
  const [a, again, b] = [memberIdentity(seedOf("a")), memberIdentity(seedOf("a")), memberIdentity(seedOf("b"))]
  assert.equal(a.memberId, again.memberId)
  assert.equal(a.sealing.publicKeyHex, again.sealing.publicKeyHex)
  assert.notEqual(a.memberId, b.memberId)
  assert.notEqual(a.signing.publicKeyHex, b.signing.publicKeyHex)
  assert.notEqual(a.sealing.publicKeyHex, b.sealing.publicKeyHex)
})

test("the keys are HKDF-SHA256 of the seed under their labels, so that a seed means the same in every later version", () => {
  const seed = seedOf("a")
  const derived = (label: string): Buffer => Buffer.from(hkdfSync("sha256", seed, "", label, 32))
  const identity = memberIdentity(seed)
  const expected = nacl.sign.keyPair.fromSeed(derived("imagegrid member signing key")).publicKey
  assert.equal(identity.signing.publicKeyHex, Buffer.from(expected).toString("hex"))
  assert.equal(identity.sealing.publicKeyHex, sealingKeyFromSecret(derived("imagegrid member sealing key")).publicKeyHex)
})

test("an Ed25519 key from a seed is RFC 8032's (7.1, test 1)", () => {
  const key = signingKeyFromSeed(Buffer.from("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "hex"))
  assert.equal(key.publicKeyHex, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
  assert.equal(
    sign(key, Buffer.alloc(0)).toString("hex"),
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  )
})

test("an X25519 key from a secret is RFC 7748's (6.1, Bob)", () => {
  const bob = sealingKeyFromSecret(Buffer.from("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb", "hex"))
  assert.equal(bob.publicKeyHex, "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
})

test("verify() accepts the key's signature and nothing else, and never throws", () => {
  const key = signingKeyFromSeed(seedOf("a"))
  const other = signingKeyFromSeed(seedOf("b"))
  const message = Buffer.from("a message")
  const signature = sign(key, message)
  assert.equal(verify(key.publicKeyHex, message, signature), true)
  assert.equal(verify(other.publicKeyHex, message, signature), false)
  assert.equal(verify(key.publicKeyHex, Buffer.from("another"), signature), false)
  for (let at = 0; at < signature.length; at += 7) {
    const changed = Buffer.from(signature)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.equal(verify(key.publicKeyHex, message, changed), false, `byte ${at}`)
  }
  for (const length of [0, 1, 63, 65, 4096]) assert.equal(verify(key.publicKeyHex, message, Buffer.alloc(length)), false)
  for (const bad of ["", "00", "zz".repeat(32), key.publicKeyHex.toUpperCase(), `${key.publicKeyHex}00`, "ff".repeat(32), "00".repeat(32)])
    assert.equal(verify(bad, message, signature), false, bad)
})

test("a member id is the first half of the digest of the public key", () => {
  const { publicKeyHex } = signingKeyFromSeed(seedOf("a"))
  assert.equal(memberIdOf(publicKeyHex), createHash("sha256").update(publicKeyHex, "hex").digest("hex").slice(0, 32))
  assert.throws(() => memberIdOf("abc"), TypeError)
})

test("publicKeyDer() is a SubjectPublicKeyInfo that OpenSSL verifies with", () => {
  const key = signingKeyFromSeed(seedOf("a"))
  const der = createPublicKey({ key: publicKeyDer(key.publicKeyHex), format: "der", type: "spki" })
  assert.equal(verifyBytes(null, Buffer.from("x"), der, sign(key, Buffer.from("x"))), true)
})

test("a seed of any other length is the caller's mistake", () => {
  for (const length of [0, 31, 33]) {
    assert.throws(() => memberIdentity(Buffer.alloc(length)), RangeError)
    assert.throws(() => signingKeyFromSeed(Buffer.alloc(length)), RangeError)
    assert.throws(() => sealingKeyFromSecret(Buffer.alloc(length)), RangeError)
  }
})
