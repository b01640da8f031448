import assert from "node:assert/strict"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { connect } from "node:net"
import { after, before, test } from "node:test"
import { connect as connectTls } from "node:tls"
import { address, type Address } from "../../core/address.ts"
import { CATALOG_BYTES_MAX, type Health, readServerStatus, routes } from "../../core/wire.ts"
import { silentLog } from "../../member/log.ts"
import { Member } from "../../member/member.ts"
import { systemClock } from "../../core/clock.ts"
import { TestSite } from "../member/site.ts"

let site: TestSite
let member: Member
let server: Address

before(async () => {
  site = await TestSite.start()
  const home = await site.join("client")
  member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  server = address(site.server.apiAddress)
})
after(async () => {
  await member.close()
  await site[Symbol.asyncDispose]()
})

test("a member reads the server's health and status", async () => {
  for (const [path, names] of [
    [routes.health, ["event-loop", "database", "disk"]],
    [routes.readiness, ["event-loop", "database", "disk", "started", "catalog", "certificate", "audit-log", "dht"]],
  ] as const) {
    const health = JSON.parse((await member.api.bytes(server, { path })).toString()) as Health
    assert.equal(health.ok, true)
    assert.deepEqual(
      health.checks.map(({ name }) => name),
      names,
    )
  }
  const status = await member.api.json(server, { path: routes.status }, readServerStatus)
  assert.equal(status.memberId, site.home.memberId)
  assert.equal(status.site, "demo")
})

test("the served description names every route, and docs/api.md does too", async () => {
  const description = JSON.parse((await member.api.bytes(server, { path: routes.description })).toString()) as {
    paths: Record<string, object>
  }
  const documented = readFileSync(new URL("../../docs/api.md", import.meta.url), "utf8")
  for (const path of Object.values(routes)) {
    if (path !== routes.description) assert.ok(path.replace(/:(\w+)/, "{$1}") in description.paths, path)
    assert.ok(documented.includes(` ${path}\``), `docs/api.md lacks ${path}`)
  }
})

test("a client may not call what is for servers", async () => {
  const claim = { inviteId: "0".repeat(32), uses: 1, memberId: "0".repeat(32), expiresAtMs: 1 }
  const calls = [
    { path: routes.claims, body: claim },
    { path: routes.hints, body: { timestampVersion: 9 } },
    { path: routes.servers, body: { servers: [] } },
    { path: routes.publications, body: { files: {} } },
  ]
  for (const call of calls)
    await assert.rejects(member.api.bytes(server, { method: "POST", ...call }), { code: "CERTIFICATE_INVALID" }, call.path)
})

test("a member has no use of the route for invites", async () => {
  const body = { signingKey: "0".repeat(64), sealingKey: "0".repeat(64), proof: "", clockMs: 1 }
  await assert.rejects(member.api.bytes(server, { method: "POST", path: routes.join, body }), { code: "CERTIFICATE_INVALID" })
})

test("bodies out of form, too long, or not JSON are refused, and the server goes on", async () => {
  for (const body of [{}, { clockMs: "now" }, { clockMs: 1, more: 1 }, [], "text"])
    await assert.rejects(member.api.bytes(server, { method: "POST", path: routes.renew, body }), { code: "REQUEST_INVALID" })
  await assert.rejects(member.api.bytes(server, { method: "POST", path: routes.renew, body: { clockMs: 1, more: "x".repeat(300_000) } }))
  await assert.rejects(member.api.bytes(server, { path: "/v1/nothing" }), { code: "API_REFUSED" })
  assert.equal((JSON.parse((await member.api.bytes(server, { path: routes.health })).toString()) as Health).ok, true)
})

test("who has no certificate of the site does not reach HTTP", async () => {
  const stranger = connectTls({ host: server.host, port: server.port, rejectUnauthorized: false })
  stranger.on("secureConnect", () => stranger.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"))
  let received = ""
  stranger.setEncoding("latin1").on("data", (text: string) => (received += text))
  const [error] = (await once(stranger, "error").catch((cause: unknown) => [cause])) as [Error]
  assert.match(error.message, /certificate required|handshake|reset/i)
  assert.equal(received, "")
})

test("plain HTTP is hung up on without an answer", async () => {
  const plain = connect(server.port, server.host)
  plain.write("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
  let received = ""
  plain.setEncoding("latin1").on("data", (text: string) => (received += text))
  plain.on("error", () => {})
  await once(plain, "close")
  assert.ok(!received.includes("HTTP"), received)
})

test("who has the catalog already is told so in place of being sent it, and takes a newer one whole", async () => {
  const request = { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX }
  const { catalogs } = site.server.member
  assert.equal(await member.api.bytesUnlessSame(server, request, catalogs.entityTag), null)
  const other = await member.api.bytesUnlessSame(server, request, `"${"0".repeat(64)}"`)
  assert.ok(other?.equals(catalogs.bytes))
  const tagBefore = catalogs.entityTag
  await site.publish("tagged:1")
  assert.notEqual(catalogs.entityTag, tagBefore)
  assert.equal(await member.catalogs.takeFromServer(server), true)
  assert.equal(member.catalogs.entityTag, catalogs.entityTag)
  assert.equal(await member.catalogs.takeFromServer(server), false)
})
