/** The danger: a site that this one has an agreement with speaks for more than its own members. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { siteName } from "#core/identifiers.ts"
import { ALL_MEMBERS, ALL_SERVERS } from "#crypto/admission.ts"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, inviteOf, memberOf, ownOf, refusedWith } from "./site.ts"

const cineca = siteName("cineca")
const third = siteName("third")
const [own, theirs, thirds] = await Promise.all([authorityOf("own"), authorityOf("theirs", cineca), authorityOf("thirds", third)])
const server = await memberOf(own, "server", { role: "server" })
const guest = await memberOf(theirs, "guest")
const guestServer = await memberOf(theirs, "guest server", { role: "server" })
const refused = refusedWith("CERTIFICATE_INVALID")

function admission(...revoked: readonly string[]) {
  const made = admissionOf(own, ownOf(server))
  made.update({
    federated: [
      { site: cineca, authorities: [theirs.der], revoked },
      { site: third, authorities: [thirds.der], revoked: [server.identity.memberId, guest.identity.memberId] },
    ],
  })
  return made
}

test("its members are admitted where all sites are asked for, under its name and their role, and nowhere else", () => {
  const { site, kind } = admission().admit(guest.der, ALL_MEMBERS, "all sites")
  assert.deepEqual([site, kind], [cineca, "member"])
  assert.throws(() => admission().admit(guest.der, ALL_MEMBERS), refused)
  assert.throws(() => admission().admit(guest.der, ALL_SERVERS, "all sites"), refused)
})

test("its authority certifies no member of this site, nor of a third one", async () => {
  for (const site of [own.site, third]) {
    const impostor = await memberOf(theirs, `impostor at ${site}`, { site })
    for (const from of ["own site", "all sites"] as const) assert.throws(() => admission().admit(impostor.der, ALL_MEMBERS, from), refused)
  }
})

test("this site's authority certifies no member of it either", async () => {
  const impostor = await memberOf(own, "our impostor", { site: cineca })
  assert.throws(() => admission().admit(impostor.der, ALL_MEMBERS, "all sites"), refused)
})

test("its invites open nothing here", async () => {
  const invite = await inviteOf(theirs, "invite")
  for (const from of ["own site", "all sites"] as const) assert.throws(() => admission().admit(invite.der, ["invite"], from), refused)
})

test("its revocations are for its own members, and another site's are not for them", () => {
  const { memberId } = guest.identity
  assert.throws(() => admission(memberId).admit(guest.der, ALL_MEMBERS, "all sites"), refused)
  assert.equal(admission().admit(guest.der, ALL_MEMBERS, "all sites").kind, "member")
  assert.equal(admission().admit(server.der, ALL_SERVERS).kind, "member")
  assert.deepEqual([admission().isRevoked(server.identity.memberId), admission().isRevoked(server.identity.memberId, third)], [false, true])
})

test("once it is not named any more its members are refused, and who listens is told", () => {
  const made = admission()
  let changes = 0
  made.onChange(() => changes++)
  made.update({ federated: [] })
  assert.equal(changes, 1)
  assert.throws(() => made.admit(guest.der, ALL_MEMBERS, "all sites"), refused)
})

test("two servers of sites that name each other finish a handshake for the swarm; one that is not named gets no byte", async () => {
  const dialling = admissionOf(theirs, ownOf(guestServer))
  dialling.update({ federated: [{ site: own.site, authorities: [own.der], revoked: [] }] })
  const outcome = await handshake(admission(), dialling.forSwarm().tlsClientOptions(), { admitsFrom: "all sites" })
  assert.equal(outcome.dialError, null)
  assert.ok(outcome.answered !== null && !(outcome.answered instanceof Error))
  assert.equal(outcome.answered.site, cineca)
  const alone = await handshake(admissionOf(own, ownOf(server)), dialling.forSwarm().tlsClientOptions(), { admitsFrom: "all sites" })
  assert.deepEqual([alone.answered, alone.read], [null, ""])
})
