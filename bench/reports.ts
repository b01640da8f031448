/**
 * `npm run bench:reports -- [--clients N] [--seconds N]`: so many clients report how they deploy to one real server, each report over a TLS connection of its own, as the product's
 * clients do, at the pace that the server asks for. A hundred member certificates stand for all of them, each with a hundredth of the deploys. Prints the server's CPU, memory and the growth of its
 * database, beside the same server without them. Linux alone.
 */
import { randomBytes } from "node:crypto"
import { readFileSync, statSync } from "node:fs"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { parseArgs } from "node:util"
import { address } from "#core/address.ts"
import { readProgressAnswer, routes, type DeployProgress } from "#core/wire.ts"
import { ApiClient } from "#member/api-client.ts"
import { Home } from "#member/home.ts"
import { ChildProgram } from "../cli/child-program.ts"
import { deploymentLimits } from "../nodes/deployment-table.ts"
import { newClient } from "./memory/site.ts"

const MEMBERS = 100
const AT_ONCE = 20
const SETTLE_MS = 8_000
const CLOCK_TICKS = 100

const { values } = parseArgs({ options: { clients: { type: "string", default: "10000" }, seconds: { type: "string", default: "120" } } })
const [clients, seconds] = [Number(values.clients), Number(values.seconds)]
if (!(clients >= MEMBERS && clients <= MEMBERS * deploymentLimits.begunPerHourMax) || !(seconds >= 10)) {
  console.error(`bench:reports takes --clients from ${MEMBERS} to ${MEMBERS * deploymentLimits.begunPerHourMax}, and --seconds from 10`)
  process.exit(64)
}

const note = (what: string, value: string) => console.log(`${what.padEnd(62)} ${value}`)

const directory = await mkdtemp(join(tmpdir(), "imagegrid-reports-"))
try {
  const path = join(directory, "server")
  const ports = ["--api", "127.0.0.1:0", "--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"]
  const start = (words: readonly string[]) =>
    new ChildProgram(words.slice(0, 2).join(" "), [...words, "--home", path], new AbortController().signal)
  {
    await using made = start(["site", "create", "bench", ...ports])
    await made.finished()
  }
  await using server = start(["server", "run"])
  const api = address(String((await server.event("server-running"))["api"]))
  const pid = server.pid ?? 0
  const cpuSeconds = () => {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? []
    return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS
  }
  const residentMb = () => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1_000
  const databaseBytes = () =>
    ["", "-wal"].reduce((sum, end) => sum + (statSync(join(path, `state.sqlite${end}`), { throwIfNoEntry: false })?.size ?? 0), 0)

  const home = await Home.open(path)
  const members: ApiClient[] = []
  for (let number = 0; number < MEMBERS; number += 1) members.push(new ApiClient((await newClient(home)).admission))
  await pause(SETTLE_MS)
  const [restFrom, restFromMs] = [cpuSeconds(), Date.now()]
  await pause(20_000)
  note("server at rest, share of a core", `${(((cpuSeconds() - restFrom) / ((Date.now() - restFromMs) / 1000)) * 100).toFixed(1)} %`)
  const before = { mb: residentMb(), bytes: databaseBytes() }
  note("server at rest, memory", `${before.mb.toFixed(0)} MB`)

  const begunMs = Date.now()
  const ids = Array.from({ length: clients }, () => randomBytes(16).toString("hex"))
  const reportOf = (number: number, share: number): DeployProgress => ({
    deployment: ids[number] ?? "",
    image: "bench/debian:2026.11",
    host: `node${number}.example.org`,
    phase: "download",
    elapsedMs: Date.now() - begunMs,
    goodAfterMs: null,
    bytes: Math.floor(share * 2e9),
    totalBytes: 2e9,
    fromServersBytes: Math.floor(share * 2e8),
    fromClientsBytes: Math.floor(share * 18e8),
    sentBytes: Math.floor(share * 18e8),
    peers: 12,
  })
  const send = async (number: number, share: number): Promise<number> => {
    const request = { method: "POST", path: routes.progress, body: reportOf(number, share), timeoutMs: 30_000 } as const
    return (await members[number % MEMBERS]?.json(api, request, readProgressAnswer))?.nextInMs ?? 0
  }
  let next = 0
  let pauseMs = 0
  const beginFrom = cpuSeconds()
  const begin = async () => {
    while (next < clients) pauseMs = Math.max(pauseMs, await send(next++, 0.1))
  }
  await Promise.all(Array.from({ length: AT_ONCE }, begin))
  const beganS = (Date.now() - begunMs) / 1000
  note(
    `${clients} clients begin, as fast as they are taken`,
    `${beganS.toFixed(0)} s, ${(((cpuSeconds() - beginFrom) / clients) * 1000).toFixed(2)} ms of CPU each`,
  )
  note("pause that the server asks of each", `${(pauseMs / 1000).toFixed(0)} s`)

  const perSecond = clients / (pauseMs / 1000)
  const [paceFrom, paceFromMs] = [cpuSeconds(), Date.now()]
  let sent = 0
  const underWay = new Set<Promise<void>>()
  while (Date.now() - paceFromMs < seconds * 1000) {
    for (; sent < ((Date.now() - paceFromMs) / 1000) * perSecond; sent += 1) {
      const one: Promise<void> = send(sent % clients, 0.2).then(
        () => void underWay.delete(one),
        () => void underWay.delete(one),
      )
      underWay.add(one)
    }
    await pause(5)
  }
  await Promise.all(underWay)
  const tookS = (Date.now() - paceFromMs) / 1000
  const cpu = cpuSeconds() - paceFrom
  note("reports at that pace", `${(sent / tookS).toFixed(1)} a second`)
  note("server, share of a core", `${((cpu / tookS) * 100).toFixed(1)} %, ${((cpu / sent) * 1000).toFixed(2)} ms a report`)
  note("server, memory beyond rest", `${(residentMb() - before.mb).toFixed(0)} MB`)
  await pause(SETTLE_MS)
  note(
    "database beyond rest",
    `${((databaseBytes() - before.bytes) / 1e6).toFixed(1)} MB, ${((databaseBytes() - before.bytes) / clients).toFixed(0)} bytes a deploy`,
  )

  const askedMs = performance.now()
  const asking = new ChildProgram("deployments", ["deployments", "--home", path], new AbortController().signal)
  let listed = 0
  asking.onEvent(({ event }) => void (listed += Number(event === "deployment")))
  await asking.finished()
  note(`'imagegrid deployments' lists ${listed} of them`, `${((performance.now() - askedMs) / 1000).toFixed(1)} s`)
} finally {
  await rm(directory, { recursive: true, force: true })
}
