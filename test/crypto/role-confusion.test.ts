/** The danger: a certificate that is good for one thing is used for another. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, inviteOf, memberOf, ownOf, refusedWith } from "./site.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const client = await memberOf(authority, "client")
const mirror = await memberOf(authority, "mirror", { role: "mirror" })
const invite = await inviteOf(authority, "invite", { role: "server" })
const admission = admissionOf(authority, ownOf(server))
const refused = refusedWith("CERTIFICATE_INVALID")

test("each certificate passes as what it is, and as nothing else", () => {
  const cases = { server: server.der, mirror: mirror.der, client: client.der, invite: invite.der } as const
  const all = ["server", "mirror", "client", "invite"] as const
  for (const as of all)
    for (const asked of all) {
      if (as === asked) assert.doesNotThrow(() => admission.admit(cases[as], [asked]))
      else assert.throws(() => admission.admit(cases[as], [asked]), refused, `${as} as ${asked}`)
    }
  assert.throws(() => admission.admit(client.der, []), refused)
})

test("a client that answers where a server is dialled is refused by the dialling end, before it sends anything", async () => {
  const outcome = await handshake(admissionOf(authority, ownOf(client)), admission.tlsClientOptions(["server"]))
  assert.ok(outcome.dialError !== null && refused(outcome.dialError))
  assert.equal(outcome.read, "")
})

test("an invite for a server's role is an invite still: the swarm refuses it", async () => {
  const outcome = await handshake(admission, admissionOf(authority, invite).tlsClientOptions())
  assert.ok(outcome.answered instanceof Error && refused(outcome.answered))
  assert.equal(outcome.read, "")
})

test("the holder of an invite can't pose as a server to those who join", async () => {
  const outcome = await handshake(admissionOf(authority, invite), admission.tlsClientOptions(["server", "client", "invite"]))
  assert.notEqual(outcome.dialError, null)
  assert.equal(outcome.read, "")
})
