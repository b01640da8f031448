/** Whether a process still runs: it may have left things behind that others may then clear away. */
import { systemErrorCode } from "#core/errors.ts"

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemErrorCode(error) === "EPERM"
  }
}
