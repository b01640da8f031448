import assert from "node:assert/strict"
import { request } from "node:http"
import { after, test } from "node:test"
import { address } from "#core/address.ts"
import { listenForOperators } from "#nodes/operator-listener.ts"
import { VitalSigns } from "#nodes/vital-signs.ts"
import { TestSite } from "../member/site.ts"

const site = await TestSite.start()
after(() => site[Symbol.asyncDispose]())
let metrics: (() => string) | null = null
const listener = await listenForOperators(
  { living: site.server.living, ready: site.server.ready, metrics: () => metrics?.() ?? null },
  address("127.0.0.1:0", { anyPort: true }),
)
after(() => listener.close())

function get(path: string, host = "127.0.0.1"): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>()
  const outgoing = request({ host: "127.0.0.1", port: listener.address.port, path, headers: { host }, agent: false }, (response) => {
    let body = ""
    response.setEncoding("utf8").on("data", (text: string) => (body += text))
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body }))
  })
  outgoing.on("error", reject).end()
  return promise
}

test("who has no certificate learns on loopback whether the server lives and is ready, and its figures", async () => {
  for (const path of ["/healthz", "/readyz"]) {
    const { status, body } = await get(path)
    assert.equal(status, 200, body)
    assert.equal((JSON.parse(body) as { ok: boolean }).ok, true)
  }
  assert.equal((await get("/metrics")).status, 503, "while it starts")
  metrics = site.server.metrics
  assert.match((await get("/metrics")).body, /^imagegrid_layers_held 0$/m)
})

test("it names neither members nor images", async () => {
  await site.publish("secret/image:1")
  const all = (await Promise.all(["/healthz", "/readyz", "/metrics"].map((path) => get(path)))).map(({ body }) => body).join("\n")
  assert.ok(!all.includes(site.home.memberId) && !all.includes("secret"))
})

test("whoever came by another name than the machine's own is turned away", async () => {
  for (const host of ["attacker.example", "192.0.2.1", "localhost.attacker.example", "127.0.0.1.nip.example"])
    assert.equal((await get("/metrics", host)).status, 421, host)
  for (const host of ["localhost", "127.0.0.1:7404", "[::1]:7404"]) assert.equal((await get("/metrics", host)).status, 200, host)
})

test("nothing else of the API is there", async () => {
  for (const path of ["/v1/status", "/v1/catalog", "/openapi.json", "/"]) assert.equal((await get(path)).status, 404, path)
})

test("it does not listen but on loopback", async () => {
  const none = { living: site.server.living, ready: site.server.ready, metrics: () => null }
  for (const at of ["0.0.0.0:0", "192.0.2.7:7404"])
    await assert.rejects(listenForOperators(none, address(at, { anyPort: true })), { code: "ADDRESS_INVALID" })
  await assert.rejects(listenForOperators(none, listener.address), { code: "ADDRESS_IN_USE" })
})

test("a home that takes no file is told of as such", async () => {
  const vital = new VitalSigns({
    nowMs: () => 0,
    probePath: "/proc/none/probe",
    askDatabase: () => {
      throw new Error("locked")
    },
  })
  const read = await vital.read()
  vital.close()
  assert.match(read.diskFault ?? "", /takes no file/)
  assert.match(read.databaseFault ?? "", /locked/)
})
