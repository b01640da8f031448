/** How programs of the system are made peers of a lab: peers/command_peer.py runs them. */
import { join } from "node:path"
import type { PeerCommand } from "./transport.ts"

export const PYTHON = "/usr/bin/python3"

export type CommandTask = {
  readonly role: "origin" | "host"
  /** Runs from before the start, and listens on `port` when it is ready. */
  readonly waiting: readonly string[] | null
  readonly port: number | null
  /** Begins with the run. */
  readonly starting: readonly string[] | null
  /** What a host has when its command ended well. */
  readonly contentPath: string | null
}

export function commandPeer(task: CommandTask): PeerCommand {
  return { program: PYTHON, words: [join(import.meta.dirname, "../peers/command_peer.py"), JSON.stringify(task)] }
}
