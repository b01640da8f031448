/** One way to give a file to many hosts. */
import type { Torrent } from "#core/torrent.ts"
import type { Scenario } from "../../scenario.ts"
import type { PeerTask } from "../peer-protocol.ts"

/** What all origins hold. */
export type LabContent = {
  readonly torrent: Torrent
  /** The file itself; read alone. */
  readonly contentPath: string
  readonly infoPath: string
  readonly sha256: string
}

export type PeerCommand = { readonly program: string; readonly words: readonly string[]; readonly env?: Readonly<Record<string, string>> }

export interface Transport {
  readonly name: string
  /** Settings that differ from the program's own, for people. */
  readonly settings: string
  /** What is not installed and must be; null when it can run. */
  missing(): string | null
  /** Why this scenario can't be played by it; null when it can. */
  refuses(scenario: Scenario): string | null
  /** Memory of one host's process, at most, for the check before a run. */
  readonly residentBytesPerHost: number
  /** A run that takes longer than this many times the ideal did not work. */
  limitRatio(scenario: Scenario): number
  /** Puts what origins serve into `directory`, which all origins share. */
  prepare(content: LabContent, directory: string): Promise<void>
  command(task: PeerTask, scenario: Scenario): PeerCommand
}

/** Every host listens here: each has a network of its own. */
export const LAB_PORT = 7_400
