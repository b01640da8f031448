/** How the store says that a file system has no room: how much is free, how much is needed, what to do. */
import { statfs } from "node:fs/promises"
import { GridError, systemErrorCode } from "#core/errors.ts"

/** True for "no space left" and "quota exceeded". */
export function isDiskFull(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === "ENOSPC" || code === "EDQUOT"
}

/** `at` is an existing path on the file system in question; `neededBytes` is what is still to be written there. */
export async function diskFull(at: string, neededBytes: number, cause?: unknown): Promise<GridError> {
  let free = "unknown room"
  try {
    const { bavail, bsize } = await statfs(at)
    free = `${bavail * bsize} bytes`
  } catch {
    // The figure is a help, not the message.
  }
  return new GridError("DISK_FULL", `${at} has ${free} free and ${neededBytes} bytes more are needed; make room and repeat the command`, {
    cause,
  })
}
