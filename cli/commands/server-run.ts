/** `imagegrid server run`: runs the image server of a home until it is told to stop. */
import { setFlagsFromString } from "node:v8"
import pino from "pino"
import { systemClock } from "#core/clock.ts"
import { address, formatAddress } from "#core/address.ts"
import type { Health } from "#core/wire.ts"
import { Home } from "#member/home.ts"
import { ready } from "#nodes/health.ts"
import { listenForOperators, type Watched } from "#nodes/operator-listener.ts"
import { PlaneDocuments } from "#nodes/plane-documents.ts"
import { ImageServer, type ServerParts } from "#nodes/server.ts"
import type { CommandContext } from "../command.ts"
import { gridAddress } from "../addresses.ts"
import { tellServiceManager } from "../service-manager.ts"
import { byteCount, byteRate } from "../values.ts"

/** Keeps V8's young generation small: with many peers a server takes half the memory, and no more CPU (docs/performance.md). */
const SMALL_HEAP = "--optimize-for-size"

type Options = {
  readonly uploadLimit?: string
  readonly wanRate?: string
  readonly quota?: string
  readonly grid?: string
  readonly operators?: string
}

export default async function run(
  { output, home, signal, env }: CommandContext,
  _arguments: readonly string[],
  { uploadLimit, wanRate, quota, grid, operators }: Options,
): Promise<void> {
  setFlagsFromString(SMALL_HEAP)
  const uploadBytesPerSecondLimit = byteRate("--upload-limit", uploadLimit)
  const wanBytesPerSecondLimit = byteRate("--wan-rate", wanRate)
  const quotaBytes = quota === undefined ? null : byteCount("--quota", quota)
  const logger = pino({ name: "imagegrid" }, pino.destination({ dest: 2, sync: false }))
  const opened = await Home.open(home())
  const { api } = opened.listen
  const documents: ServerParts["documents"] = (member, listening) =>
    PlaneDocuments.start(member, gridAddress(grid, api ?? { host: "127.0.0.1", port: 0 }), listening)
  let running: ImageServer | null = null
  const watched: Watched = {
    living: () => running?.living() ?? starting(),
    ready: async () => running?.ready() ?? ready(await starting(), null),
    metrics: () => running?.metrics() ?? null,
  }
  await using stack = new AsyncDisposableStack()
  const listener =
    operators === undefined
      ? null
      : stack.adopt(await listenForOperators(watched, address(operators, { anyPort: true })), (open) => open.close())
  await using server = await ImageServer.start(
    { home: opened, clock: systemClock, logger, documents },
    { uploadBytesPerSecondLimit, wanBytesPerSecondLimit, quotaBytes },
  )
  running = server
  const { member } = server
  const addresses = {
    api: server.apiAddress,
    swarm: formatAddress(member.swarm.address),
    dht: formatAddress(member.dht.address),
    operators: listener === null ? null : formatAddress(listener.address),
  }
  output.event("server-running", { site: opened.site, role: opened.role, memberId: opened.memberId, ...addresses })
  output.say(
    `${opened.role === "mirror" ? "Mirror" : "Server"} ${opened.memberId} of site ${opened.site} runs: API ${addresses.api}, swarm ${addresses.swarm}, DHT ${addresses.dht}. Ctrl-C stops it.`,
  )
  const notSaid = await tellServiceManager(env, ["READY=1", `STATUS=serves ${opened.site} at ${addresses.api}`])
  if (notSaid !== null) logger.warn({ reason: notSaid }, "systemd was not told that the server is ready")
  await new Promise<void>((stop) => (signal.aborted ? stop() : signal.addEventListener("abort", () => stop(), { once: true })))
  output.event("server-stopping", {})
  await tellServiceManager(env, ["STOPPING=1"])
}

const starting = async (): Promise<Health> => ({
  ok: true,
  checks: [{ name: "started", ok: true, detail: "the process lives, and is starting" }],
})
