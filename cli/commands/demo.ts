/**
 * `imagegrid demo`: the whole main job on one machine, with real programs that talk over loopback: three servers, a publish, six
 * clients, and the death of the server that published. Ends every process that it started and removes every file that it made.
 */
import { mkdtemp, rm, statfs } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { GridError } from "#core/errors.ts"
import { ChildProgram } from "../child-program.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes, formatDuration, formatRate } from "../progress.ts"
import { wholeNumber } from "../values.ts"

type Options = { readonly image?: string; readonly servers?: string; readonly clients?: string }

const IMAGE = "node:1"
/** The publishing server is killed when this share of all downloads is done. */
const KILL_AT_SHARE = 0.3
/** On loopback nothing is scarce but CPU; real servers have an uplink, and clients that share it. */
const SERVER_UPLINK = "15MB"
const ROOM_BYTES_MIN = 6 * 1024 ** 3

type ClientResult = {
  startedAtMs: number
  downloadedAtMs: number
  goodAtMs: number
  bytes: number
  fromOrigins: number
  fromClients: number
  uploadedBytes: number
}

export default async function run({ output, signal }: CommandContext, _arguments: readonly string[], options: Options): Promise<void> {
  const serverCount = wholeNumber("--servers", options.servers ?? "3", { min: 2, max: 16 })
  const clientCount = wholeNumber("--clients", options.clients ?? "6", { min: 1, max: 32 })
  const image = options.image ?? fileURLToPath(new URL("../../node_modules", import.meta.url))
  const { bavail, bsize } = await statfs(tmpdir())
  if (bavail * bsize < ROOM_BYTES_MIN)
    output.warn(
      `${tmpdir()} has ${formatBytes(bavail * bsize)} free; the demo may need ${formatBytes(ROOM_BYTES_MIN)}. Set TMPDIR to a roomier place if it fails`,
    )
  const workDirectory = await mkdtemp(join(tmpdir(), "imagegrid-demo-"))
  const startedMs = Date.now()
  const tell = (step: string, text: string) => {
    output.event("demo", { step, text, atMs: Date.now() })
    output.say(`[${((Date.now() - startedMs) / 1000).toFixed(1).padStart(5)} s] ${text}`)
  }
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rm(workDirectory, { recursive: true, force: true }))
  const start = (name: string, words: readonly string[]) => stack.use(new ChildProgram(name, words, signal))
  const finish = async (name: string, words: readonly string[]) => {
    const program = start(name, words)
    await program.finished()
    return program
  }
  const home = (name: string) => join(workDirectory, name)
  const loopback = ["--swarm", "127.0.0.1:0", "--dht", "127.0.0.1:0"]

  tell("site", "An administrator makes the site 'demo' and starts its first server.")
  await finish("site create", ["site", "create", "demo", "--home", home("server-1"), "--api", "127.0.0.1:0", ...loopback])
  const startServer = (number: number) =>
    start(`server ${number}`, ["server", "run", "--home", home(`server-${number}`), "--upload-limit", SERVER_UPLINK])
  const servers = [startServer(1)]
  await servers[0]?.event("server-running")

  for (let number = 2; number <= serverCount; number++) {
    const invite = await inviteFrom(await finish("invite", ["invite", "--home", home("server-1"), "--role", "server"]))
    await finish("join", ["join", invite, "--home", home(`server-${number}`), "--api", "127.0.0.1:0", ...loopback])
    const server = startServer(number)
    servers.push(server)
    await server.event("server-running")
  }
  tell(
    "servers",
    `${serverCount} servers run, each with an uplink of ${SERVER_UPLINK} a second; each joined with an invite that could be used once.`,
  )

  tell("publish", `Publishing ${image} as ${IMAGE}: captured, compressed, sealed and signed ...`)
  const publish = await finish("publish", ["publish", image, IMAGE, "--home", home("server-1"), "--wait-copies", String(serverCount)])
  const published = await publish.event("published")
  const sealedBytes = Number(published["sealedBytes"])
  tell(
    "published",
    `${published["entries"] as number} entries, ${formatBytes(Number(published["contentBytes"]))} sealed into ${formatBytes(sealedBytes)} in ${formatDuration(Number(published["tookMs"]))}; all ${serverCount} servers hold a copy.`,
  )

  const clients: { readonly name: string; readonly deploy: ChildProgram; share: number }[] = []
  const invite = await inviteFrom(await finish("invite", ["invite", "--home", home("server-1"), "--uses", String(clientCount)]))
  const names = Array.from({ length: clientCount }, (_, index) => `client-${index + 1}`)
  await Promise.all(names.map((name) => finish(`join of ${name}`, ["join", invite, "--home", home(name), ...loopback])))
  tell("clients", `${clientCount} clients joined with one invite for ${clientCount}. All deploy now, side by side.`)
  for (const name of names) {
    const words = [
      "deploy",
      IMAGE,
      "--home",
      home(name),
      "--target",
      home(`${name}-root`),
      "--useful-over",
      "3s",
      "--stage",
      home(`${name}-stage`),
    ]
    clients.push({ name, deploy: start(name, words), share: 0 })
  }
  const midway = Promise.withResolvers<void>()
  for (const client of clients)
    client.deploy.onEvent((event) => {
      if (event["event"] === "progress" && event["phase"] === "downloading") client.share = Number(event["bytes"]) / sealedBytes
      if (event["event"] === "downloaded") client.share = 1
      if (clients.reduce((sum, each) => sum + each.share, 0) / clientCount >= KILL_AT_SHARE) midway.resolve()
    })
  await Promise.race([midway.promise, Promise.all(clients.map((client) => client.deploy.finished()))])
  servers[0]?.kill("SIGKILL")
  const done = clients.filter((client) => client.share === 1).length
  tell("killed", `Server 1, which published the image, was killed (SIGKILL) when ${done} of ${clientCount} clients had all of it.`)

  const results: ClientResult[] = []
  for (const { name, deploy } of clients) {
    await deploy.finished()
    results.push(await resultOf(deploy))
    await finish(`verify of ${name}`, ["verify", "--home", home(name), "--target", home(`${name}-root`)])
  }
  tell("good", `All ${clientCount} clients finished, and every entry of their trees is as the publisher signed it.`)
  report(output, names, results, sealedBytes)
}

async function inviteFrom(program: ChildProgram): Promise<string> {
  return String((await program.event("invite"))["invite"])
}

async function resultOf(deploy: ChildProgram): Promise<ClientResult> {
  const [started, downloaded, good, left] = [
    await deploy.event("download-started"),
    await deploy.event("downloaded"),
    await deploy.event("good"),
    await deploy.event("left"),
  ]
  return {
    startedAtMs: Number(started["atMs"]),
    downloadedAtMs: Number(downloaded["atMs"]),
    goodAtMs: Number(good["atMs"]),
    bytes: Number(downloaded["bytes"]),
    fromOrigins: Number(downloaded["fromOrigins"]),
    fromClients: Number(downloaded["fromClients"]),
    uploadedBytes: Number(left["uploadedBytes"]),
  }
}

function report(output: CommandContext["output"], names: readonly string[], results: readonly ClientResult[], sealedBytes: number): void {
  output.table(
    ["client", "downloaded in", "rate", "good after", "from servers", "from clients", "sent to others"],
    results.map((result, index) => [
      names[index] ?? "",
      formatDuration(result.downloadedAtMs - result.startedAtMs),
      formatRate((result.bytes * 1000) / Math.max(1, result.downloadedAtMs - result.startedAtMs)),
      formatDuration(result.goodAtMs - result.startedAtMs),
      formatBytes(result.fromOrigins),
      formatBytes(result.fromClients),
      formatBytes(result.uploadedBytes),
    ]),
  )
  const fromServers = results.reduce((sum, result) => sum + result.fromOrigins, 0)
  const clientServerBytes = sealedBytes * results.length
  output.event("demo-result", { clients: results, serversSentBytes: fromServers, clientServerBytes })
  output.say(
    `The servers sent ${formatBytes(fromServers)}, ${(fromServers / sealedBytes).toFixed(2)} copies of the image; ` +
      `a client-server transfer would have cost them ${formatBytes(clientServerBytes)}, ${results.length} copies.`,
  )
  if (results.some((result) => result.bytes !== sealedBytes))
    throw new GridError("DIGEST_MISMATCH", "a client reports another size than was published; please report this")
}
