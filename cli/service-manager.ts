/** Tells systemd how a service is (sd_notify(3)), where it asked for that. Node has no datagram sockets of the Unix kind, so its own small program does it. */
import { execFile } from "node:child_process"

const TIMEOUT_MS = 5_000

/** `READY=1`, `STOPPING=1`, `STATUS=...`. Resolves when it was said, or could not be; never rejects. */
export function tellServiceManager(env: Readonly<Record<string, string | undefined>>, states: readonly string[]): Promise<string | null> {
  if (env["NOTIFY_SOCKET"] === undefined) return Promise.resolve(null)
  const { promise, resolve } = Promise.withResolvers<string | null>()
  execFile("systemd-notify", [...states], { timeout: TIMEOUT_MS }, (error) => resolve(error === null ? null : error.message))
  return promise
}
