/** Judges what `imagegrid doctor` found out: a line of what is, and for all that is not well a line of what to do. Pure. */
import { formatBytes, formatDuration } from "../progress.ts"
import type { Facts, HomeFacts, MachineFacts, PortFacts, ServerFacts } from "./facts.ts"

/** `warning`: it works, and may not for long or not well. `problem`: something does not work. */
export type Finding = {
  readonly about: string
  readonly severity: "ok" | "warning" | "problem"
  readonly found: string
  /** Null where nothing is to be done. */
  readonly advice: string | null
}

const NODE_MAJOR = 24
/** A server may hold so many connections and files at once. */
const OPEN_FILES_SERVER = 16_384
const OPEN_FILES_CLIENT = 1_024
const STAGING_BYTES = 2e9
const FREE_BYTES_PROBLEM = 200e6
const FREE_SHARE_WARNING = 0.05
const INODE_SHARE_WARNING = 0.05
/** Certificates are good from five minutes before they are made, and refused by whoever is further off than that. */
const CLOCK_PROBLEM_MS = 5 * 60_000
const CLOCK_WARNING_MS = 5_000
const CERTIFICATE_WARNING_MS = 24 * 3_600_000
const CATALOG_WARNING_MS = 24 * 3_600_000

export function findingsOf(facts: Facts): Finding[] {
  const { machine, home, servers, ports, dht, nowMs } = facts
  const isServer = home !== null && "role" in home && home.role !== "client"
  return [
    ...machineFindings(machine, isServer),
    ...(home === null ? [] : "role" in home ? homeFindings(home, nowMs) : [problem("home", home.detail, adviceFor(home.code))]),
    ...serverFindings(servers, isServer),
    ...ports.map((port) => portFinding(port)),
    ...(dht === null ? [] : [dhtFinding(dht)]),
  ]
}

function machineFindings(
  { nodeVersion, tarFault, xattrFault, openFilesMax, stagingFreeBytes }: MachineFacts,
  isServer: boolean,
): Finding[] {
  const wanted = isServer ? OPEN_FILES_SERVER : OPEN_FILES_CLIENT
  return [
    Number.parseInt(nodeVersion.replace(/^v/, ""), 10) >= NODE_MAJOR
      ? ok("node", `Node ${nodeVersion}`)
      : problem("node", `Node ${nodeVersion}, ${NODE_MAJOR} is needed`, "start it by ./imagegrid, which brings its own"),
    tarFault === null
      ? ok("tar", "GNU tar is there")
      : problem("tar", tarFault, "install GNU tar and put it first on the PATH (Debian: apt install tar)"),
    ...(tarFault !== null || xattrFault === null
      ? []
      : [
          problem(
            "tar",
            `tar keeps no extended attributes: ${xattrFault}`,
            "install a GNU tar that was built with them: capabilities and ACLs of an image would be lost",
          ),
        ]),
    openFilesMax >= wanted
      ? ok("open-files", `${openFilesMax} files may be open`)
      : warning(
          "open-files",
          `${openFilesMax} files may be open, ${wanted} are wanted`,
          `raise it: 'ulimit -n ${wanted}', or LimitNOFILE=${wanted} in the unit`,
        ),
    isServer || stagingFreeBytes >= STAGING_BYTES
      ? ok("staging", `${formatBytes(stagingFreeBytes)} free to stage in`)
      : warning(
          "staging",
          `${formatBytes(stagingFreeBytes)} free to stage in`,
          "larger images go beside the target, or deploy with --stage none or --stage DIR",
        ),
  ]
}

function homeFindings(home: HomeFacts, nowMs: number): Finding[] {
  const { directory, role, isRunning, looseFiles, freeBytes, totalBytes, freeInodeShare, remoteFileSystem, attention } = home
  const room = `${formatBytes(freeBytes)} of ${formatBytes(totalBytes)} free at ${directory}`
  return [
    ok("home", `a ${role}'s, ${isRunning ? "in use by a process now" : "not in use now"}`),
    looseFiles.length === 0
      ? ok("key-files", "secret files are their owner's alone")
      : problem(
          "key-files",
          `open to others: ${looseFiles.join(", ")}`,
          `chmod 600 them; whoever could read them may have them: 'imagegrid rotate member', and the other keys that lie there`,
        ),
    freeBytes < FREE_BYTES_PROBLEM
      ? problem("disk", room, "make room: retire old versions ('imagegrid keep'), a --quota, or a larger disk")
      : freeBytes < totalBytes * FREE_SHARE_WARNING
        ? warning("disk", room, "retire old versions ('imagegrid keep'), set a --quota, or give it a larger disk")
        : ok("disk", room),
    ...(freeInodeShare < INODE_SHARE_WARNING
      ? [
          warning(
            "inodes",
            `${(freeInodeShare * 100).toFixed(1)} % of inodes are free`,
            "remove small files there, or make a file system with more inodes",
          ),
        ]
      : []),
    ...(remoteFileSystem === null
      ? []
      : [
          warning(
            "file-system",
            `the home is on ${remoteFileSystem}, which another machine serves`,
            "move the home to a local disk: locks and durable writes are not sure there",
          ),
        ]),
    certificateFinding(home, nowMs),
    catalogFinding(home, nowMs),
    ...attention.map(({ about, code, detail }): Finding =>
      code === "expired" ? problem(about, detail, "do what it says, now") : warning(about, detail, null),
    ),
  ]
}

function certificateFinding({ certificateFromMs, certificateUntilMs, role }: HomeFacts, nowMs: number): Finding {
  if (nowMs < certificateFromMs)
    return problem(
      "certificate",
      `not valid for ${formatDuration(certificateFromMs - nowMs)} yet`,
      "set this machine's clock: it is behind",
    )
  if (nowMs >= certificateUntilMs)
    return problem(
      "certificate",
      `ended ${formatDuration(nowMs - certificateUntilMs)} ago`,
      role === "server"
        ? "start 'imagegrid server run', which issues its own; if the clock is ahead, set it"
        : "join again with a new invite in a new home; if the clock is ahead, set it",
    )
  const left = formatDuration(certificateUntilMs - nowMs)
  return certificateUntilMs - nowMs < CERTIFICATE_WARNING_MS
    ? warning("certificate", `good for ${left}`, "it should have been renewed: see that a server of the site is reached (below)")
    : ok("certificate", `good for ${left}`)
}

function catalogFinding({ catalogUntilMs, role }: HomeFacts, nowMs: number): Finding {
  const advice =
    role === "server" ? "start 'imagegrid server run', which signs it anew" : "start any server of the site, or reach one (below)"
  if (nowMs >= catalogUntilMs) return problem("catalog", `lapsed ${formatDuration(nowMs - catalogUntilMs)} ago`, advice)
  const left = formatDuration(catalogUntilMs - nowMs)
  return catalogUntilMs - nowMs < CATALOG_WARNING_MS ? warning("catalog", `good for ${left}`, advice) : ok("catalog", `good for ${left}`)
}

function serverFindings(servers: readonly ServerFacts[], isServer: boolean): Finding[] {
  const answering = servers.filter((server) => server.answers)
  const silent = servers.filter((server) => !server.answers)
  const none = servers.length > 0 && answering.length === 0
  return [
    ...answering.map(({ address, clockAheadMs }) => clockFinding(address, clockAheadMs)),
    ...answering
      .filter(({ auditFault }) => auditFault !== null)
      .map(({ address, auditFault }) =>
        problem("audit-log", `that of ${address} does not hold: ${auditFault}`, "'imagegrid audit --verify' there; keep the files"),
      ),
    ...silent.map(({ address, code, detail }): Finding => ({
      about: "servers",
      severity: none && !isServer ? "problem" : "warning",
      found: `${address} does not answer: ${detail}`,
      advice: adviceFor(code),
    })),
  ]
}

function clockFinding(address: string, aheadMs: number): Finding {
  const off = `the clock of ${address} is ${formatDuration(Math.abs(aheadMs))} ${aheadMs > 0 ? "ahead of" : "behind"} this one`
  if (Math.abs(aheadMs) >= CLOCK_PROBLEM_MS)
    return problem("clock", off, "set the wrong one of the two, and keep it right (Debian: apt install chrony)")
  if (Math.abs(aheadMs) >= CLOCK_WARNING_MS) return warning("clock", off, "keep both right (Debian: apt install chrony)")
  return ok("servers", `${address} answers, and its clock agrees`)
}

function portFinding({ service, address, state, detail }: PortFacts): Finding {
  const at = `${service} ${address}`
  switch (state) {
    case "answers":
      return ok("ports", `${at} is reached`)
    case "free":
      return ok("ports", `${at} is free for the server`)
    case "taken":
      return problem("ports", `${at} is taken by another program`, "stop that one ('ss -lntup' names it), or give the home another port")
    case "refused":
      return problem(
        "ports",
        `${at} can't be listened on: ${detail}`,
        "the address must be one of this machine's, and a port below 1024 needs the right to it",
      )
    default:
      return problem(
        "ports",
        `${at} is not reached though the server runs: ${detail}`,
        "open it in the firewall, for TCP and for the DHT's UDP; others are told this address",
      )
  }
}

function dhtFinding({ asked, reached }: NonNullable<Facts["dht"]>): Finding {
  return reached > 0
    ? ok("dht", `${reached} ${reached === 1 ? "node answers" : "nodes answer"} over UDP`)
    : problem(
        "dht",
        `none of ${asked} known nodes answers over UDP`,
        "let UDP through to the servers' DHT port (7402), in both directions; without it peers are found by the servers alone",
      )
}

function adviceFor(code: string): string {
  switch (code) {
    case "KEY_INVALID":
      return "chmod 600 the file, or restore it from a backup"
    case "SERVERS_UNREACHABLE":
      return "see that it runs, that the address is right, and that the firewall lets TCP through to its API port (7400)"
    case "CERTIFICATE_EXPIRED":
    case "CERTIFICATE_NOT_YET_VALID":
      return "compare the clocks; if they agree, join again with a new invite"
    case "CERTIFICATE_INVALID":
      return "one of the two is of another site, or was revoked: 'imagegrid status' there and here"
    default:
      return "see docs/operating.md for this message"
  }
}

function ok(about: string, found: string): Finding {
  return { about, severity: "ok", found, advice: null }
}

function warning(about: string, found: string, advice: string | null): Finding {
  return { about, severity: "warning", found, advice }
}

function problem(about: string, found: string, advice: string): Finding {
  return { about, severity: "problem", found, advice }
}
