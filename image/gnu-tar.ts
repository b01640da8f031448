/**
 * GNU tar as a child process: the only archiver seen to keep everything a root file system has.
 *
 * Invariant: what it writes or makes depends on its input alone, not on this process's locale, time zone or environment.
 */
import { spawn, execFile, type ChildProcess } from "node:child_process"
import type { Readable, Writable } from "node:stream"
import { promisify } from "node:util"
import { GridError } from "#core/errors.ts"
import type { Pipe } from "./pipe.ts"
import { WORK_DIRECTORY } from "./target.ts"

/** The archive of a tree is the same bytes each time, but for the order of xattrs, which tar-stream.ts mends. */
const CAPTURE_FLAGS = [
  "--create",
  "--file=-",
  // Bytes in each write to the pipe, in blocks of 512; the padding that follows from it is cut off again.
  "--blocking-factor=256",
  "--sort=name",
  "--format=posix",
  "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
  "--numeric-owner",
  "--xattrs",
  "--xattrs-include=*",
  "--sparse",
  "--sparse-version=0.0",
  "--anchored",
  "--no-wildcards",
  `--exclude=./${WORK_DIRECTORY}`,
]

const EXTRACT_FLAGS = [
  "--extract",
  "--file=-",
  "--xattrs",
  "--xattrs-include=*",
  "--numeric-owner",
  "--preserve-permissions",
  "--delay-directory-restore",
  "--warning=no-timestamp",
]

/** Of what tar complained about, this much is kept to be shown. */
const COMPLAINT_LINES_MAX = 10
const COMPLAINT_BYTES_MAX = 2_000
const STDERR_LINE_BYTES_MAX = 16 * 1024

export type TarOutcome = {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  /** The first lines of what it complained about; empty when it did not. */
  readonly complaint: string
  /** Sockets can't be archived, and are of no use without the process that listens: tar leaves them out. */
  readonly socketCount: number
}

export type TarChild = {
  /** Settles after tar ended and its complaints were read; never rejects but when tar can't be started. */
  readonly outcome: Promise<TarOutcome>
  kill(): void
}

function environment(): NodeJS.ProcessEnv {
  const { TAR_OPTIONS: _options, POSIXLY_CORRECT: _posix, TAR_READER_OPTIONS: _reader, ...rest } = process.env
  return { ...rest, LC_ALL: "C", LANGUAGE: "C", TZ: "UTC" }
}

let checkedTar: Promise<void> | null = null

/** @throws {GridError} TOOL_MISSING */
export function requireGnuTar(): Promise<void> {
  checkedTar ??= checkTar()
  checkedTar.catch(() => (checkedTar = null))
  return checkedTar
}

async function checkTar(): Promise<void> {
  let banner: string
  try {
    banner = (await promisify(execFile)("tar", ["--version"], { env: environment(), timeout: 20_000 })).stdout
  } catch (cause) {
    throw new GridError("TOOL_MISSING", "expected GNU tar on the PATH, found no tar; install it (Debian: apt install tar)", { cause })
  }
  if (!banner.startsWith("tar (GNU tar)")) {
    const found = JSON.stringify(banner.split("\n", 1)[0]?.slice(0, 80))
    throw new GridError("TOOL_MISSING", `expected GNU tar on the PATH, found ${found}; install GNU tar and put it first`)
  }
}

/**
 * The archive goes into `output`, whose write end is tar's alone afterwards. Of `names`, relative to the directory and each ended by a zero byte, nothing
 * is archived but they themselves, as they come; null: everything.
 * @param leftOut names that are not read, nor what is below them; UTF-8
 */
export function startCapture(directory: string, output: Pipe, names: Readable | null = null, leftOut: readonly string[] = []): TarChild {
  let child: ChildProcess
  try {
    const what = names === null ? ["."] : ["--no-recursion", "--null", "--files-from=-"]
    const without = leftOut.map((name) => `--exclude=./${name}`)
    child = spawn("tar", [...CAPTURE_FLAGS, ...without, `--directory=${directory}`, ...what], {
      env: environment(),
      stdio: [names === null ? "ignore" : "pipe", output.writeEnd, "pipe"],
    })
    // Where tar ends before it has read all names, its complaint says why.
    child.stdin?.on("error", () => {})
    if (child.stdin !== null) names?.pipe(child.stdin)
  } catch (error) {
    output.close()
    throw error
  }
  output.closeWriteEnd()
  return { outcome: outcomeOf(child, child.stderr), kill: () => child.kill("SIGKILL") }
}

export function startExtract(target: string): TarChild & { readonly stdin: Writable } {
  const child = spawn("tar", [...EXTRACT_FLAGS, `--directory=${target}`], { env: environment(), stdio: ["pipe", "ignore", "pipe"] })
  return { stdin: child.stdin, outcome: outcomeOf(child, child.stderr), kill: () => child.kill("SIGKILL") }
}

async function outcomeOf(child: ChildProcess, stderr: Readable | null): Promise<TarOutcome> {
  const lines: string[] = []
  let keptBytes = 0
  let socketCount = 0
  let rest = ""
  const line = (text: string): void => {
    if (text.endsWith(": socket ignored")) socketCount += 1
    else if (lines.length < COMPLAINT_LINES_MAX && keptBytes < COMPLAINT_BYTES_MAX && text.trim() !== "") {
      const kept = text.slice(0, COMPLAINT_BYTES_MAX - keptBytes)
      lines.push(kept)
      keptBytes += kept.length
    }
  }
  stderr?.setEncoding("latin1")
  stderr?.on("data", (chunk: string) => {
    const parts = (rest + chunk).split("\n")
    rest = (parts.pop() ?? "").slice(-STDERR_LINE_BYTES_MAX)
    for (const part of parts) line(part)
  })
  const { promise, resolve, reject } = Promise.withResolvers<{ exitCode: number | null; signal: NodeJS.Signals | null }>()
  child.once("error", reject)
  child.once("close", (exitCode, signal) => resolve({ exitCode, signal }))
  const ended = await promise
  line(rest)
  return { ...ended, complaint: lines.join("; "), socketCount }
}
