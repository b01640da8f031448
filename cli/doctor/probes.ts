/** Finds out what `imagegrid doctor` judges. Changes nothing, and each question has an end. */
import { execFile } from "node:child_process"
import { createSocket } from "node:dgram"
import { mkdtemp, readdir, readFile, rm, stat, statfs, writeFile } from "node:fs/promises"
import { connect, createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { formatAddress, type Address } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import { GridError, systemErrorCode, type RefusalCode } from "#core/errors.ts"
import { readServerStatus, routes } from "#core/wire.ts"
import { requireGnuTar } from "#image/gnu-tar.ts"
import type { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { Member } from "#member/member.ts"
import { networkKeysInForce } from "#member/network-keys.ts"
import { Dht } from "#swarm/dht.ts"
import { attentionOf } from "#trust/attention.ts"
import { gridAddress } from "../addresses.ts"
import type { HomeFacts, MachineFacts, PortFacts, ServerFacts } from "./facts.ts"

const ANSWER_TIMEOUT_MS = 5_000
const CONNECT_TIMEOUT_MS = 3_000
const DHT_TIMEOUT_MS = 5_000
const SERVERS_ASKED_MAX = 20
const TOOL_TIMEOUT_MS = 10_000
const STATUS_BYTES_MAX = 64 * 1024 * 1024

/** By statfs(2), file systems whose locks and syncs are another machine's word. */
const REMOTE_FILE_SYSTEMS: ReadonlyMap<number, string> = new Map([
  [0x6969, "NFS"],
  [0xff534d42, "CIFS"],
  [0xfe534d42, "SMB2"],
  [0x01021997, "9P"],
  [0x00c36400, "Ceph"],
])

/** What went wrong, as a code and a sentence. */
export function faultOf(error: unknown): { readonly code: RefusalCode | "INTERNAL"; readonly detail: string } {
  if (error instanceof GridError) return { code: error.code, detail: error.detail }
  return { code: "INTERNAL", detail: systemErrorCode(error) ?? (error instanceof Error ? error.message : "unknown") }
}

export async function machineFacts(): Promise<MachineFacts> {
  const tarFault = await requireGnuTar().then(
    () => null,
    (error: unknown) => faultOf(error).detail,
  )
  const [shm, tmp] = await Promise.all(["/dev/shm", tmpdir()].map(freeBytesOf))
  return {
    nodeVersion: process.version,
    tarFault,
    xattrFault: tarFault === null ? await xattrFault() : null,
    openFilesMax: await openFilesMax(),
    stagingFreeBytes: Math.max(shm ?? 0, tmp ?? 0),
  }
}

export async function homeFacts(home: Home): Promise<HomeFacts> {
  const certificate = await home.certificate()
  await using member = await memberOf(home)
  const { catalog } = member.catalogs
  const { bavail, bsize, blocks, files, ffree, type } = await statfs(home.directory)
  return {
    directory: home.directory,
    role: home.role,
    isRunning: isInUse(home),
    looseFiles: await looseFiles(home.path("keys")),
    freeBytes: bavail * bsize,
    totalBytes: blocks * bsize,
    freeInodeShare: files === 0 ? 1 : ffree / files,
    remoteFileSystem: REMOTE_FILE_SYSTEMS.get(type) ?? null,
    certificateFromMs: certificate.notBeforeMs,
    certificateUntilMs: certificate.notAfterMs,
    catalogUntilMs: catalog.expiresAtMs,
    attention: attentionOf(catalog, systemClock.nowMs()).filter(({ code }) => code !== "one-key"),
  }
}

/** Asks each server that the home knows of, but its own. */
export async function serverFacts(home: Home): Promise<ServerFacts[]> {
  await using member = await memberOf(home)
  return Promise.all(
    member.directory
      .contacts("api")
      .slice(0, SERVERS_ASKED_MAX)
      .map((server) => askServer(member, server)),
  )
}

async function askServer(member: Member, server: Address): Promise<ServerFacts> {
  const address = formatAddress(server)
  const askedMs = systemClock.nowMs()
  try {
    const request = { path: routes.status, timeoutMs: ANSWER_TIMEOUT_MS, maxBytes: STATUS_BYTES_MAX }
    const { clockMs, audit } = await member.api.json(server, request, readServerStatus)
    // It read its clock somewhere between the question and the answer.
    const middleMs = (askedMs + systemClock.nowMs()) / 2
    return { address, answers: true, clockAheadMs: Math.round(clockMs - middleMs), auditFault: audit.fault }
  } catch (error) {
    return { address, answers: false, ...faultOf(error) }
  }
}

/** Of a server's home: can it have its ports, or, while it runs, is it reached at them? Clients have none that matter. */
export async function portFacts(home: Home, isRunning: boolean, dhtReached: boolean | null): Promise<PortFacts[]> {
  const { api, swarm, dht } = home.listen
  if (home.role === "client" || api === null) return []
  const services = [
    ["api", api],
    ["swarm", swarm],
    ["grid", gridAddress(undefined, api)],
  ] as const
  const tcp = services
    .filter(([, at]) => at.port !== 0)
    .map(async ([service, at]): Promise<PortFacts> => {
      const { state, detail } = await (isRunning ? reach(at) : have(at))
      return { service, address: formatAddress(at), state, detail }
    })
  const udp: PortFacts[] = isRunning
    ? dhtReached === null
      ? []
      : [{ service: "dht", address: formatAddress(dht), state: dhtReached ? "answers" : "silent", detail: "no answer over UDP" }]
    : dht.port === 0
      ? []
      : [{ service: "dht", address: formatAddress(dht), ...(await haveUdp(dht)) }]
  const found = await Promise.all(tcp)
  // A site's only server opens no control plane.
  return [...found.filter(({ service, state }) => service !== "grid" || state !== "silent"), ...udp]
}

/** Asks the DHT nodes that the home knows of, from a port of its own. */
export async function dhtFacts(home: Home, signal: AbortSignal): Promise<{ readonly asked: number; readonly reached: number } | null> {
  await using member = await memberOf(home)
  const own = home.role === "client" || !isInUse(home) ? [] : [home.listen.dht]
  const bootstrap = [...own, ...member.directory.contacts("dht")]
  if (bootstrap.length === 0) return null
  const dht = await Dht.open(
    { networkKeys: networkKeysInForce(await home.secrets(), member.catalogs.catalog.site), clock: systemClock },
    { listen: { host: "0.0.0.0", port: 0 }, bootstrap },
  )
  try {
    for (const deadlineMs = Date.now() + DHT_TIMEOUT_MS; dht.nodeCount() === 0 && Date.now() < deadlineMs;)
      await sleep(50, undefined, { signal })
    return { asked: bootstrap.length, reached: dht.nodeCount() }
  } finally {
    await dht.close()
  }
}

async function memberOf(home: Home): Promise<Member & AsyncDisposable> {
  const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  return Object.assign(member, { [Symbol.asyncDispose]: () => member.close() })
}

export function isInUse(home: Home): boolean {
  try {
    home.lock().release()
    return false
  } catch (error) {
    if (error instanceof GridError && error.code === "HOME_IN_USE") return true
    throw error
  }
}

async function looseFiles(directory: string): Promise<string[]> {
  const names = (await readdir(directory)).filter((name) => !name.endsWith(".pub"))
  const modes = await Promise.all(names.map(async (name) => ({ name, status: await stat(join(directory, name)) })))
  return modes.filter(({ status }) => status.isFile() && (status.mode & 0o077) !== 0).map(({ name }) => `keys/${name}`)
}

async function freeBytesOf(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(directory)
    return bavail * bsize
  } catch {
    return 0
  }
}

async function openFilesMax(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "utf8")
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0)
}

/** Makes a small archive with the flags that images are captured with. */
async function xattrFault(): Promise<string | null> {
  const directory = await mkdtemp(join(tmpdir(), "imagegrid-doctor-"))
  try {
    await writeFile(join(directory, "file"), "content")
    const flags = ["--create", "--file=/dev/null", "--format=posix", "--sparse", "--xattrs", "--xattrs-include=*", "--sort=name"]
    const { stderr } = await promisify(execFile)("tar", [...flags, `--directory=${directory}`, "."], {
      timeout: TOOL_TIMEOUT_MS,
      env: { ...process.env, LC_ALL: "C" },
    })
    return /not supported|without/i.test(stderr) ? (stderr.split("\n", 1)[0] ?? "") : null
  } catch (error) {
    return error instanceof Error ? (error.message.split("\n")[1] ?? error.message) : "unknown"
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

type PortState = Pick<PortFacts, "state" | "detail">

function have({ host, port }: Address): Promise<PortState> {
  const { promise, resolve } = Promise.withResolvers<PortState>()
  const server = createServer()
  server.once("error", (error) => resolve(unavailable(error)))
  server.listen(port, host, () => server.close(() => resolve({ state: "free", detail: "" })))
  return promise
}

function haveUdp({ host, port }: Address): Promise<PortState> {
  const { promise, resolve } = Promise.withResolvers<PortState>()
  const socket = createSocket("udp4")
  socket.once("error", (error) => {
    socket.close()
    resolve(unavailable(error))
  })
  socket.bind(port, host, () => socket.close(() => resolve({ state: "free", detail: "" })))
  return promise
}

function unavailable(error: Error): PortState {
  const code = systemErrorCode(error) ?? error.message
  return { state: code === "EADDRINUSE" ? "taken" : "refused", detail: code }
}

function reach({ host, port }: Address): Promise<PortState> {
  const { promise, resolve } = Promise.withResolvers<PortState>()
  const socket = connect({ host, port, timeout: CONNECT_TIMEOUT_MS })
  const end = (found: PortState) => {
    socket.destroy()
    resolve(found)
  }
  socket.once("connect", () => end({ state: "answers", detail: "" }))
  socket.once("timeout", () => end({ state: "silent", detail: "no answer" }))
  socket.once("error", (error) => end({ state: "silent", detail: systemErrorCode(error) ?? error.message }))
  return promise
}
