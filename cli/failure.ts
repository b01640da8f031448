/** From whatever was thrown to what the program says at its end: a public code, words, and the exit code that goes with the code. */
import { CommanderError } from "commander"
import { exitCodes, GridError, systemErrorCode, type RefusalCode } from "#core/errors.ts"

export type Failure = {
  /** One of core/errors.ts, or INTERNAL for a defect. */
  readonly code: string
  readonly message: string
  readonly exitCode: number
  /** For people, after the message. */
  readonly more?: string
}

/** What the operating system refuses, whoever met it first. */
const SYSTEM_REFUSALS: Readonly<Record<string, { readonly code: RefusalCode; readonly advice: string }>> = {
  ENOSPC: { code: "DISK_FULL", advice: "make room and repeat the command" },
  EDQUOT: { code: "DISK_FULL", advice: "make room in your quota and repeat the command" },
  EACCES: { code: "NOT_PERMITTED", advice: "run this as a user who may, or name another place" },
  EPERM: { code: "NOT_PERMITTED", advice: "run this as a user who may, or name another place" },
  EROFS: { code: "NOT_PERMITTED", advice: "the file system is read-only; name another place" },
}

/** `ending` is the reason that the command was told to end for, or null. */
export function failureOf(thrown: unknown, ending: GridError | null): Failure {
  if (thrown instanceof GridError) return refusal(thrown)
  if (thrown instanceof CommanderError) return refusal(new GridError("USAGE", usageDetail(thrown), { cause: thrown }))
  if (ending !== null && thrown instanceof Error && thrown.name === "AbortError") return refusal(ending)
  const known = SYSTEM_REFUSALS[systemErrorCode(thrown) ?? ""]
  if (known !== undefined && thrown instanceof Error)
    return refusal(new GridError(known.code, `${thrown.message}; ${known.advice}`, { cause: thrown }))
  return defect(thrown)
}

/** Commander's own words, on one line. */
function usageDetail(error: CommanderError): string {
  if (error.code === "commander.help") return "it names no command"
  const words = error.message
    .replace(/^error: /, "")
    .replaceAll("\n", " ")
    .replace(/\.$/, "")
  return `${words}; see imagegrid --help`
}

function refusal(error: GridError): Failure {
  return { code: error.code, message: error.message, exitCode: error.exitCode }
}

function defect(thrown: unknown): Failure {
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  const stack = thrown instanceof Error && thrown.stack !== undefined ? thrown.stack : message
  return {
    code: "INTERNAL",
    message,
    exitCode: exitCodes.internal,
    more: `${stack}\nThis is a defect of imagegrid: please report it with these lines and what you did.`,
  }
}
