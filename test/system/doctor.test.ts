import assert from "node:assert/strict"
import { chmodSync, mkdirSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { test } from "node:test"
import { TestGrid } from "./grid.ts"

type Found = { readonly about: string; readonly severity: string; readonly found: string }

test("doctor finds nothing wrong where all is well, and names what was broken: a server that is down, a key that is open, a port that is taken, a tar that is none", async () => {
  await using grid = new TestGrid()
  // Ports of its own, so that they are the same at each start.
  const ports = await freePorts(3)
  const at = (index: number) => `127.0.0.1:${ports[index]}`
  await grid.run(["site", "create", "demo", "--home", grid.home("server"), "--api", at(0), "--swarm", at(1), "--dht", at(2)])
  const examine = (home: string, env: NodeJS.ProcessEnv = process.env) => {
    const { code, events } = grid.outcome(["doctor", "--home", grid.home(home)], { env })
    const findings = events.filter(({ event }) => event === "finding") as unknown as Found[]
    return { code, bad: findings.filter(({ severity }) => severity === "problem").map(({ about }) => about), findings }
  }
  assert.deepEqual(examine("server").bad, [], "before it runs: its ports are free")
  const server = await grid.server("server")
  await grid.run(["join", await grid.invite([], "server"), "--home", grid.home("client"), "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"])
  for (const home of ["server", "client"]) {
    const { code, bad, findings } = examine(home)
    assert.deepEqual([code, bad], [0, []], JSON.stringify(findings))
    assert.ok(findings.some(({ about, severity }) => about === "dht" && severity === "ok"))
  }

  chmodSync(join(grid.home("client"), "keys", "secrets.json"), 0o640)
  assert.deepEqual([examine("client").code, examine("client").bad], [78, ["home"]])
  chmodSync(join(grid.home("client"), "keys", "secrets.json"), 0o600)

  mkdirSync(grid.home("bin"))
  writeFileSync(join(grid.home("bin"), "tar"), "#!/bin/sh\necho bsdtar 3.7\n", { mode: 0o755 })
  assert.deepEqual(examine("client", { ...process.env, PATH: `${grid.home("bin")}:${process.env["PATH"]}` }).bad, ["tar"])

  server.kill("SIGTERM")
  await server.ended()
  assert.deepEqual(examine("client").bad, ["servers", "dht"])
  const taken = createServer().listen(ports[1], "127.0.0.1")
  await new Promise((listening) => taken.once("listening", listening))
  assert.deepEqual(examine("server").bad, ["ports"])
  await new Promise((closed) => taken.close(closed))

  const { code, events } = grid.outcome(["doctor"], { env: { ...process.env, IMAGEGRID_HOME: "" } })
  assert.equal(code, 0, "without a home it looks at the machine")
  assert.ok(events.every((event) => event["about"] !== "home"))
})

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"))
  const ports: number[] = []
  for (const server of servers) {
    await new Promise((listening) => (server.listening ? listening(null) : server.once("listening", listening)))
    ports.push((server.address() as { port: number }).port)
  }
  await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))))
  return ports
}
