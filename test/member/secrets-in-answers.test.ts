/** The danger: an answer of the API, or a refusal, holds a secret in the clear. What a member is to be given is sealed to its own key. */
import assert from "node:assert/strict"
import { after, before, test } from "node:test"
import { ApiClient } from "../../member/api-client.ts"
import { address } from "../../core/address.ts"
import { systemClock } from "../../core/clock.ts"
import { API_BODY_BYTES_MAX, routes } from "../../core/wire.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { leaksIn, secretsOf } from "../system/secrets.ts"
import { TestSite } from "./site.ts"

let site: TestSite
before(async () => {
  site = await TestSite.start()
})
after(() => site[Symbol.asyncDispose]())

test("no answer to a client, a mirror or a server, and no refusal, holds a secret that one of them keeps", async () => {
  const server = address(site.server.apiAddress)
  const clock = { clockMs: systemClock.nowMs() }
  const calls: readonly { readonly path: string; readonly body?: object }[] = [
    ...[routes.health, routes.description, routes.status, routes.catalog, routes.servers, "/v1/nothing"].map((path) => ({ path })),
    { path: routes.renew, body: clock },
    { path: routes.renew, body: { clockMs: 1 } },
    { path: routes.renew, body: { clockMs: "now" } },
    { path: routes.servers, body: { servers: [] } },
    { path: routes.claims, body: { inviteId: "ab".repeat(16), uses: 1, memberId: "cd".repeat(16), expiresAtMs: 1 } },
    { path: routes.hints, body: { catalogSeq: 1 } },
    { path: routes.publications, body: { files: { "metadata/publisher.json": "AAAA" } } },
    { path: routes.join, body: {} },
  ]
  for (const role of ["client", "mirror", "server"] as const) {
    const home = await site.join(`asks as ${role}`, systemClock, await site.invite({ role }))
    const secrets = [...secretsOf(site.home.directory), ...secretsOf(home.directory)]
    const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
    const api = new ApiClient(member.admission)
    let answers = 0
    for (const { path, body } of calls) {
      const request = { path, maxBytes: 4 * API_BODY_BYTES_MAX, ...(body !== undefined && { method: "POST" as const, body }) }
      const said = await api.bytes(server, request).then(
        (bytes) => bytes,
        (error: Error) => Buffer.from(`${error.message}\n${error.stack ?? ""}`),
      )
      answers += said.length > 0 ? 1 : 0
      assert.deepEqual(leaksIn(said, secrets, `${path} to a ${role}`), [])
      if (path === routes.renew && body === clock)
        assert.ok(said.includes("secrets"), "the answer that carries secrets was among those that were searched")
    }
    assert.equal(answers, calls.length)
    await member.close()
  }
})
