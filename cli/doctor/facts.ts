/** What `imagegrid doctor` found out before it judges: plain values, with an error's words where something could not be asked. */
import type { RefusalCode } from "#core/errors.ts"
import type { Attention } from "#trust/attention.ts"

export type MachineFacts = {
  readonly nodeVersion: string
  /** Why GNU tar can't be used; null when it can. */
  readonly tarFault: string | null
  /** Why it keeps no extended attributes; null when it does, or where the file system has none. */
  readonly xattrFault: string | null
  readonly openFilesMax: number
  /** Free where a client stages what it downloads. */
  readonly stagingFreeBytes: number
}

export type HomeFacts = {
  readonly directory: string
  readonly role: "server" | "mirror" | "client"
  readonly isRunning: boolean
  /** Secret files that others than their owner may read. */
  readonly looseFiles: readonly string[]
  readonly freeBytes: number
  readonly totalBytes: number
  readonly freeInodeShare: number
  /** Name of a file system that is another machine's; null when it is this one's. */
  readonly remoteFileSystem: string | null
  readonly certificateFromMs: number
  readonly certificateUntilMs: number
  readonly catalogUntilMs: number
  readonly attention: readonly Attention[]
}

export type ServerFacts =
  | { readonly address: string; readonly answers: true; readonly clockAheadMs: number; readonly auditFault: string | null }
  | { readonly address: string; readonly answers: false; readonly code: RefusalCode | "INTERNAL"; readonly detail: string }

/** A port that the home listens on. `free`: nothing listens and it can be had. `answers`: it is reached at the address that others are told. */
export type PortFacts = {
  readonly service: "api" | "swarm" | "dht" | "grid"
  readonly address: string
  readonly state: "free" | "answers" | "silent" | "taken" | "refused"
  readonly detail: string
}

export type Facts = {
  readonly nowMs: number
  readonly machine: MachineFacts
  /** Null where no home was named; a fault where it can't be opened. */
  readonly home: HomeFacts | { readonly code: RefusalCode | "INTERNAL"; readonly detail: string } | null
  /** Others than this one. */
  readonly servers: readonly ServerFacts[]
  readonly ports: readonly PortFacts[]
  /** Null where nobody is known who could answer. */
  readonly dht: { readonly asked: number; readonly reached: number } | null
}
