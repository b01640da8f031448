/**
 * What the lab and its peers say to each other, in lines: a peer says that it is ready, is told to start, says when it has the whole file, goes on serving
 * others, is told to stop and reports. A peer ends when its standard input does. Times are of the machine's monotonic clock, which all processes share.
 */
import { Type, type Static } from "typebox"
import { parseJson, reader } from "#core/schema.ts"
import type { Address } from "#core/address.ts"
import type { SeedingPolicy } from "../seeding.ts"

/** What a peer is told on its command line, as JSON. */
export type PeerTask = {
  readonly role: "origin" | "host"
  readonly member: "server" | "client"
  /** Number of its site, and how many there are. */
  readonly site: number
  readonly siteCount: number
  readonly number: number
  readonly listen: Address
  readonly origins: readonly Address[]
  /** Everyone, origins too. */
  readonly all: readonly Address[]
  /** The file of the info dictionary. */
  readonly infoPath: string
  /** Where the peer keeps the file, or finds it. */
  readonly directory: string
  readonly window: boolean
  /** What servers are told that their site may send to others; null: nothing. */
  readonly wideAreaBudgetBytesPerSecond: number | null
  /** When it leaves by itself once it has the file; null: not before it is told to. */
  readonly until: SeedingPolicy | null
}

export const START = "start"
export const STOP = "stop"

export const PeerReport = Type.Object({
  /** Payload; null where the program does not tell. */
  downloadedBytes: Type.Union([Type.Number(), Type.Null()]),
  uploadedBytes: Type.Union([Type.Number(), Type.Null()]),
  /** Payload that came and was not needed; null where the program does not tell. */
  duplicateBytes: Type.Union([Type.Number(), Type.Null()]),
  /** User and system, from start to stop. */
  cpuSeconds: Type.Number(),
  /** The most it ever held. */
  residentBytes: Type.Number(),
  /** The file that it has now; null when it serves only. */
  contentPath: Type.Union([Type.String(), Type.Null()]),
})
export type PeerReport = Static<typeof PeerReport>

const PeerLine = Type.Union([
  Type.Object({ kind: Type.Literal("ready") }),
  Type.Object({ kind: Type.Literal("done"), atMs: Type.Number() }),
  /** It serves nobody any more. */
  Type.Object({ kind: Type.Literal("left"), atMs: Type.Number() }),
  Type.Object({ kind: Type.Literal("report"), report: PeerReport }),
])
export type PeerLine = Static<typeof PeerLine>

const LINE_BYTES_MAX = 100_000
const readLine = reader(PeerLine, "REQUEST_INVALID", "line of a peer")

/** @throws {GridError} REQUEST_INVALID */
export function readPeerLine(line: string): PeerLine {
  return readLine(parseJson(line, LINE_BYTES_MAX, "REQUEST_INVALID", "line of a peer"))
}

/** The machine's monotonic clock. */
export function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
