/**
 * Carries out the steps of an update (update-plan.ts). Each step may be done again after it was done, or after the process ended within it: a run that was
 * killed is gone on with by doing all of them once more.
 *
 * Work lies below the target's top, in a directory that is this user's alone: `new/` holds what was made anew, at its path, and `old/N` is where step N
 * keeps what it takes away. Directories of the target are held open and never looked up through a name that someone could turn into a link meanwhile.
 */
import { execFile } from "node:child_process"
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  futimesSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  type BigIntStats,
} from "node:fs"
import { setImmediate as nextTurn } from "node:timers/promises"
import { GridError, reasonOf, systemErrorCode } from "#core/errors.ts"
import { byteString, bytesOf, printable, type ByteString } from "./byte-string.ts"
import { seconds } from "./tar-writer.ts"
import { parentOf, type Step } from "./update-plan.ts"

const SLICE_MS = 10
const OPEN_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW

export type StepParts = {
  readonly target: string
  /** In the target, on its file system. */
  readonly work: string
  readonly steps: readonly Step[]
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number }) => void) | undefined
}

/** @throws {GridError} TARGET_UNSUITABLE when a part of the target is on another file system, or was replaced meanwhile; NOT_PERMITTED, DISK_FULL */
export async function applySteps({ target, work, steps, onProgress }: StepParts): Promise<void> {
  using directories = new HeldDirectories(target)
  mkdirSync(`${work}/old`, { recursive: true, mode: 0o700 })
  let untilMs = performance.now() + SLICE_MS
  for (const [done, step] of steps.entries()) {
    if (performance.now() > untilMs) {
      onProgress?.({ done, total: steps.length })
      await nextTurn()
      untilMs = performance.now() + SLICE_MS
    }
    try {
      await apply(step, work, directories)
    } catch (error) {
      throw refusal(error, step.path)
    }
  }
  onProgress?.({ done: steps.length, total: steps.length })
}

async function apply(step: Step, work: string, directories: HeldDirectories): Promise<void> {
  const made = Buffer.concat([Buffer.from(`${work}/new/`), bytesOf(step.path)])
  if (step.is === "attributes") return setAttributes(step, directories)
  const aside = Buffer.from(`${work}/old/${step.number}`)
  const at = directories.entry(step.path)
  const now = at === null ? null : stated(at)
  if (step.is === "take") {
    if (at !== null && now !== null && stated(aside) === null) renameSync(at, aside)
    return
  }
  const source = stated(made)
  // Done before.
  if (source === null) return
  if (at === null) throw new GridError("TARGET_UNSUITABLE", `the directory of ${printable(step.path)} is gone`)
  if (step.is === "place") {
    if (now !== null && stated(aside) === null) {
      // A file is never missing: the new one takes the name in one step.
      if (now.isDirectory() || source.isDirectory()) renameSync(at, aside)
      else keepLink(at, aside)
    }
    renameSync(made, at)
    return
  }
  if (now !== null) {
    moveAll(at, made)
    renameSync(at, aside)
  }
  renameSync(made, at)
}

/** A second name for what is about to be replaced; where a file can have no more names, it goes aside itself. */
function keepLink(at: Buffer, aside: Buffer): void {
  try {
    linkSync(at, aside)
  } catch (error) {
    if (systemErrorCode(error) !== "EMLINK") throw error
    renameSync(at, aside)
  }
}

/** Of a directory that was made anew only empty ones are left in it: what they held has its place already. */
function moveAll(from: Buffer, into: Buffer): void {
  const slash = Buffer.from("/")
  for (const name of readdirSync(from, { encoding: "buffer" })) {
    const to = Buffer.concat([into, slash, name])
    if (stated(to) !== null) removeEmpty(to)
    renameSync(Buffer.concat([from, slash, name]), to)
  }
}

function removeEmpty(directory: Buffer): void {
  for (const name of readdirSync(directory, { encoding: "buffer" })) removeEmpty(Buffer.concat([directory, Buffer.from("/"), name]))
  rmdirSync(directory)
}

/** Sets what a directory of the target is to have. */
export async function restoreDirectory(target: string, step: Step & { readonly is: "attributes" }): Promise<void> {
  using directories = new HeldDirectories(target)
  await setAttributes(step, directories)
}

async function setAttributes(step: Step & { readonly is: "attributes" }, directories: HeldDirectories): Promise<void> {
  const path = directories.entry(step.path)
  if (path === null) throw new GridError("TARGET_UNSUITABLE", `${printable(step.path)} is gone`)
  const directory = openSync(path, OPEN_DIRECTORY)
  try {
    const now = fstatSync(directory, { bigint: true })
    if (now.uid !== BigInt(step.uid) || now.gid !== BigInt(step.gid)) fchownSync(directory, step.uid, step.gid)
    fchmodSync(directory, step.mode)
    if (now.mtimeNs === step.mtimeNs) return
    // Exact to the nanosecond only where a double is.
    futimesSync(directory, Number(now.atimeMs) / 1_000, Number(step.mtimeNs / 1_000_000n) / 1_000)
    if (fstatSync(directory, { bigint: true }).mtimeNs !== step.mtimeNs) await touch(directory, step.mtimeNs)
  } finally {
    closeSync(directory)
  }
}

async function touch(directory: number, mtimeNs: bigint): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<null>()
  const path = `/proc/${process.pid}/fd/${directory}`
  execFile("touch", ["-c", "-m", "-d", `@${seconds(mtimeNs)}`, path], { env: { ...process.env, LC_ALL: "C" } }, (error) =>
    error === null ? resolve(null) : reject(error),
  )
  await promise
}

function stated(path: Buffer): BigIntStats | null {
  try {
    return lstatSync(path, { bigint: true })
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null
    throw error
  }
}

/** The directories on the way to the last path that was asked for. */
class HeldDirectories implements Disposable {
  readonly #open: { readonly path: ByteString; readonly fd: number }[]

  constructor(target: string) {
    this.#open = [{ path: "." as ByteString, fd: openSync(target, constants.O_RDONLY | constants.O_DIRECTORY) }]
  }

  /** A path that leads to this entry whatever happens to the names above it; null where a directory above it is missing. */
  entry(path: ByteString): Buffer | null {
    const parent = parentOf(path)
    if (parent === null) return Buffer.from(`/proc/self/fd/${this.#open[0]?.fd}/.`)
    const fd = this.#descend(parent)
    if (fd === null) return null
    const name = path.slice(path.lastIndexOf("/") + 1) as ByteString
    return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), bytesOf(name)])
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#open.splice(0)) closeSync(fd)
  }

  #descend(directory: ByteString): number | null {
    for (;;) {
      const top = this.#open.at(-1)
      if (top === undefined) throw new Error("unreachable: the top is held")
      if (top.path === directory) return top.fd
      const below = top.path === "." ? directory : directory.startsWith(`${top.path}/`) ? directory.slice(top.path.length + 1) : null
      if (below === null) {
        closeSync(top.fd)
        this.#open.pop()
        continue
      }
      const name = (below.split("/", 1)[0] ?? "") as ByteString
      const path = (top.path === "." ? name : `${top.path}/${name}`) as ByteString
      try {
        this.#open.push({ path, fd: openSync(Buffer.concat([Buffer.from(`/proc/self/fd/${top.fd}/`), bytesOf(name)]), OPEN_DIRECTORY) })
      } catch (error) {
        if (systemErrorCode(error) === "ENOENT") return null
        throw error
      }
    }
  }
}

function refusal(error: unknown, path: ByteString): unknown {
  const at = printable(byteString(bytesOf(path)))
  const code = systemErrorCode(error)
  switch (code) {
    case "EXDEV":
    case "EBUSY":
      return new GridError("TARGET_UNSUITABLE", `${at} is on another file system than the top of the target; unmount it, or exclude it`, {
        cause: error,
      })
    case "ELOOP":
    case "ENOTDIR":
    case "ENOTEMPTY":
      return new GridError("TARGET_UNSUITABLE", `${at} was replaced while it was updated (${code}); repeat the command`, { cause: error })
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new GridError("NOT_PERMITTED", `${at}: ${reasonOf(error)}`, { cause: error })
    case "ENOSPC":
    case "EDQUOT":
      return new GridError("DISK_FULL", `${at}: ${reasonOf(error)}; make room and repeat the command`, { cause: error })
    default:
      return error
  }
}
