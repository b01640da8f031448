/** What a client says of itself when it deploys or updates: its host's name, and whether scripts of the image may be run. */
import { hostname } from "node:os"
import type { UpdateEvent } from "#client/update-events.ts"
import { hostNames } from "#core/overrides.ts"
import type { CommandOption } from "./command.ts"
import { durationMs } from "./values.ts"

export type HostOptions = { readonly host?: string; readonly allowScripts?: boolean; readonly scriptTimeout?: string }

const SCRIPT_TIMEOUT_MAX_MS = 24 * 3_600_000

export const hostOptions: readonly CommandOption[] = [
  { flags: "--host <NAME>", description: "the host's name, by which overrides are chosen; else this machine's" },
  { flags: "--allow-scripts", description: "run the scripts that are signed with the image, as this user" },
  { flags: "--script-timeout <TIME>", description: "end a script after so long", default: "10m" },
]

/** `host` null where none was named. @throws {GridError} USAGE, NAME_INVALID */
export function scriptsAndHost({ host, allowScripts, scriptTimeout = "10m" }: HostOptions): {
  readonly host: string | null
  readonly scripts: { readonly timeoutMs: number } | null
} {
  const timeoutMs = durationMs("--script-timeout", scriptTimeout, SCRIPT_TIMEOUT_MAX_MS)
  if (host !== undefined) hostNames(host)
  return { host: host ?? null, scripts: allowScripts === true ? { timeoutMs } : null }
}

/** As the kernel knows it, where that is a name of a host. */
export function ownHostName(): string {
  try {
    return hostNames(hostname())[0] ?? "localhost"
  } catch {
    return "localhost"
  }
}

/** What people are told of scripts; null for other events. */
export function scriptSentence(event: UpdateEvent): string | null {
  switch (event.event) {
    case "scripts-left-out":
      return `${event.image} has scripts, which are not run; --allow-scripts runs them.`
    case "script-started":
      return `Running '${event.script}' of the image.`
    case "script-output":
      return `${event.script}: ${event.line}`
    case "script-ended":
      return `'${event.script}' ended well after ${(event.tookMs / 1000).toFixed(1)} s.`
    default:
      return null
  }
}
