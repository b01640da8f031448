/** The danger: a certificate goes on opening doors after its time, or a wrong clock locks a machine out without a word why. */
import assert from "node:assert/strict"
import { test } from "node:test"
import { GridError } from "#core/errors.ts"
import { handshake } from "./handshake.ts"
import { admissionOf, authorityOf, clockAt, HOUR_MS, memberOf, ownOf, refusedWith, startMs } from "./site.ts"

const authority = await authorityOf("authority")
const server = await memberOf(authority, "server", { role: "server" })
const client = await memberOf(authority, "client")
const admitAt = (nowMs: number) => admissionOf(authority, ownOf(server), { clock: clockAt(nowMs) }).admit(client.der, ["client"])

test("a certificate is valid from its first second and refused at the very millisecond it ends", () => {
  assert.equal(admitAt(startMs - HOUR_MS).kind, "member")
  assert.throws(() => admitAt(startMs - HOUR_MS - 1), refusedWith("CERTIFICATE_NOT_YET_VALID"))
  assert.equal(admitAt(startMs + HOUR_MS - 1).kind, "member")
  assert.throws(() => admitAt(startMs + HOUR_MS), refusedWith("CERTIFICATE_EXPIRED"))
})

test("a clock that is wrong by a year is told with both times", () => {
  const nowMs = startMs + 365 * 24 * HOUR_MS
  assert.throws(
    () => admitAt(nowMs),
    (error) =>
      error instanceof GridError &&
      error.message.includes(new Date(nowMs).toISOString()) &&
      error.message.includes(new Date(startMs + HOUR_MS).toISOString()),
  )
})

test("a member's certificate does not outlive its authority", async () => {
  const long = await memberOf(authority, "long", { notAfterMs: startMs + 1_000 * HOUR_MS })
  const admission = admissionOf(authority, ownOf(server), { clock: clockAt(startMs + 240 * HOUR_MS) })
  assert.throws(() => admission.admit(long.der, ["client"]), refusedWith("CERTIFICATE_EXPIRED"))
})

test("OpenSSL refuses a lapsed certificate by the machine's own time as well, on both ends", async () => {
  const past = { notBeforeMs: startMs - 2 * HOUR_MS, notAfterMs: startMs - HOUR_MS }
  const lapsedClient = await memberOf(authority, "lapsed client", past)
  const lapsedServer = await memberOf(authority, "lapsed server", { ...past, role: "server" })
  const clock = clockAt(startMs - HOUR_MS - 1)
  const dialled = await handshake(
    admissionOf(authority, ownOf(server), { clock }),
    admissionOf(authority, ownOf(lapsedClient), { clock }).tlsClientOptions(),
  )
  assert.deepEqual([dialled.answered, dialled.read], [null, ""])
  const answered = await handshake(
    admissionOf(authority, ownOf(lapsedServer), { clock }),
    admissionOf(authority, ownOf(client), { clock }).tlsClientOptions(),
  )
  assert.match(String(answered.dialError), /expired/)
})
