/** The danger: an invite cut short, mistyped or made up takes a joining machine somewhere else, or ends its program. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { sha256 } from "#core/identifiers.ts"
import { decodeInvite, encodeInvite } from "#crypto/invite.ts"
import { authorityOf, inviteOf, lab, refusedWith, seededRandom, seedOf } from "./site.ts"

const authority = await authorityOf("authority")
const { der, seed } = await inviteOf(authority, "invite")
const text = encodeInvite({
  site: lab,
  rootDigest: sha256("ab".repeat(32)),
  networkKey: seedOf("network"),
  authorityDer: authority.der,
  certificateDer: der,
  seed,
  api: [{ host: "192.0.2.7", port: 7401 }],
  dht: [],
})
const refused = refusedWith("INVITE_INVALID")

test("an invite cut short at any place is refused", () => {
  for (let length = 0; length < text.length; length++) assert.throws(() => decodeInvite(text.slice(0, length)), refused, `${length}`)
})

test("one wrong letter anywhere is refused", () => {
  for (let at = 0; at < text.length; at++) {
    const wrong = text[at] === "A" ? "B" : "A"
    assert.throws(() => decodeInvite(text.slice(0, at) + wrong + text.slice(at + 1)), refused, `letter ${at}`)
  }
})

test("letters behind, doubled pastes and other strings are refused", () => {
  for (const wrong of ["", "x", "imagegrid1:", `${text}A`, `${text}=`, text + text, text.slice(1), text.toUpperCase(), "imagegrid1:AAAA"])
    assert.throws(() => decodeInvite(wrong), refused, wrong.slice(0, 20))
})

test("a string without end is refused before it is decoded", () => {
  assert.throws(() => decodeInvite(`imagegrid1:${"A".repeat(50_000_000)}`), refused)
})

test("bytes that are only well-formed at the outside are refused", () => {
  const word = "damaged invite"
  const random = seededRandom(word)
  for (let round = 0; round < 300; round++) {
    const bytes = Buffer.from(random(1 + ((random(2)[0] ?? 0) + 256 * ((random(2)[1] ?? 0) % 8))))
    assert.throws(() => decodeInvite(`imagegrid1:${bytes.toString("base64url")}`), refused, `seed ${word}, round ${round}`)
  }
})
