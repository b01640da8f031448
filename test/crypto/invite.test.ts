import assert from "node:assert/strict"
import { test } from "node:test"
import { sha256, siteName } from "#core/identifiers.ts"
import { decodeInvite, encodeInvite, inviteProof, type Invite } from "#crypto/invite.ts"
import { authorityOf, inviteOf, lab, memberOf, refusedWith, seedOf } from "./site.ts"

const authority = await authorityOf("authority")
const { der, seed } = await inviteOf(authority, "invite")
const invite: Invite = {
  site: lab,
  rootDigest: sha256("ab".repeat(32)),
  networkKey: seedOf("network"),
  authorityDer: authority.der,
  certificateDer: der,
  seed,
  api: [
    { host: "192.0.2.7", port: 7401 },
    { host: "images.example.org", port: 7401 },
  ],
  dht: [{ host: "192.0.2.7", port: 7403 }],
}

test("an invite comes out of its string as it went in", () => {
  assert.deepEqual(decodeInvite(encodeInvite(invite)), invite)
  assert.deepEqual(decodeInvite(encodeInvite({ ...invite, dht: [] })).dht, [])
})

test("an invite is one word of plain letters, short enough for a chat", () => {
  const text = encodeInvite(invite)
  assert.match(text, /^imagegrid1:[A-Za-z0-9_-]+$/)
  assert.ok(text.length < 2_000, `${text.length} characters`)
})

test("line breaks and spaces that a paste added do not matter", () => {
  const wrapped = `  ${encodeInvite(invite).replaceAll(/.{60}/g, "$&\r\n ")}\n`
  assert.deepEqual(decodeInvite(wrapped), invite)
})

test("an invite that could not be read again is not made", () => {
  const api = Array.from({ length: 300 }, (_, position) => ({ host: `host-${position}.example.org`, port: 7401 }))
  assert.throws(() => encodeInvite({ ...invite, api }), refusedWith("INVITE_INVALID"))
  assert.throws(() => encodeInvite({ ...invite, seed: Buffer.alloc(31) }), RangeError)
})

test("parts that do not hold together are refused", async () => {
  const member = await memberOf(authority, "m")
  for (const changed of [
    { seed: seedOf("another") },
    { site: siteName("elsewhere") },
    { certificateDer: member.der },
    { certificateDer: Buffer.from("junk") },
    { api: [{ host: "a b", port: 1 }] },
  ])
    assert.throws(() => decodeInvite(encodeInvite({ ...invite, ...changed })), refusedWith("INVITE_INVALID"), Object.keys(changed)[0])
})

test("the proof is over the invite and both keys, each of fixed length", () => {
  const [id, a, b] = ["11".repeat(16), "aa".repeat(32), "bb".repeat(32)]
  assert.equal(inviteProof(id, a, b).toString("latin1"), `imagegrid join\0${"\x11".repeat(16)}${"\xaa".repeat(32)}${"\xbb".repeat(32)}`)
  assert.throws(() => inviteProof("11", a, b), TypeError)
  assert.throws(() => inviteProof(id, a, "b"), TypeError)
})
