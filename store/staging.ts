/**
 * Where a client stages sealed bytes: memory first, then /tmp, then the target's own file system, as in the paper of 2007. Gathers the facts and
 * leaves the choice to `chooseStaging`, which is pure.
 */
import { constants } from "node:fs"
import { access, lstat, mkdir, readFile, stat, statfs } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, resolve } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { isInMemory } from "./in-memory.ts"

/** Left free beside the sealed bytes. */
export const STAGING_SPARE_BYTES = 100 * 1024 * 1024
/** Where Linux keeps a tmpfs for everyone. */
const SHARED_MEMORY = "/dev/shm"

export type StagingKind = "wanted" | "memory" | "tmp" | "target"

/** What is known of one place. */
export type StagingPlace = {
  readonly kind: StagingKind
  readonly directory: string
  /** Bytes that may be written there; null when nothing may. */
  readonly freeBytes: number | null
  /** Why nothing may be written, or what a person should know of the place. */
  readonly remark: string | null
}

export type Staging = {
  readonly directory: string
  readonly kind: StagingKind
  /** For people: why this place. */
  readonly why: string
}

/**
 * The places where a layer for `target`, which need not exist, may be staged, best first. Where one is `wanted` no other is considered; it
 * need not exist either. Never throws for what it finds: a place that can't be used says so.
 */
export async function stagingPlaces(
  target: string,
  wanted: string | null,
  options: {
    /** Instead of /dev/shm and the system's temporary directory. */
    readonly shared?: { readonly memory: string; readonly tmp: string }
  } = {},
): Promise<StagingPlace[]> {
  const { shared = { memory: SHARED_MEMORY, tmp: tmpdir() } } = options
  if (wanted !== null) return [await gather("wanted", resolve(wanted))]
  const beside = await gather("target", dirname(resolve(target)))
  return [await gather("memory", shared.memory), await gather("tmp", shared.tmp), await besideTarget(beside, resolve(target))]
}

/**
 * The first place with room for the sealed bytes and `STAGING_SPARE_BYTES`. Decides from the facts alone.
 * @throws {GridError} DISK_FULL with the room that each place has, NOT_PERMITTED when the wanted one can't be written to
 */
export function chooseStaging(places: readonly StagingPlace[], sealedBytes: number): Staging {
  const neededBytes = sealedBytes + STAGING_SPARE_BYTES
  const passedOver: string[] = []
  for (const { kind, directory, freeBytes, remark } of places) {
    if (freeBytes !== null && freeBytes >= neededBytes) {
      const why = [`${directory} has ${freeBytes} bytes free`, ...(remark === null ? [] : [remark]), ...passedOver].join("; ")
      return { directory, kind, why }
    }
    if (freeBytes === null && kind === "wanted")
      throw new GridError("NOT_PERMITTED", `${directory} can't be used to stage in: ${remark ?? "it can't be written to"}; name another`)
    passedOver.push(
      freeBytes === null ? `${directory}: ${remark ?? "can't be written to"}` : `${directory} has only ${freeBytes} bytes free`,
    )
  }
  throw new GridError(
    "DISK_FULL",
    `staging needs ${neededBytes} bytes (${sealedBytes} of the layer and ${STAGING_SPARE_BYTES} to spare); ${passedOver.join("; ")}. ` +
      "Make room, or name a directory that has it: --stage DIR",
  )
}

/**
 * Makes the directory `path`, or takes the one that an earlier run of this user made. /tmp and /dev/shm are everyone's: a stranger may have
 * put a directory of this name there first, and would then own what is staged in it.
 * @throws {GridError} TARGET_UNSUITABLE when it is a link, another user's, or open to others for writing
 */
export async function claimStage(path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  try {
    await mkdir(path, { mode: 0o700 })
    return
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error
  }
  const status = await lstat(path)
  const ours = status.isDirectory() && status.uid === process.geteuid?.() && (status.mode & 0o022) === 0
  if (!ours)
    throw new GridError("TARGET_UNSUITABLE", `${path} is not a directory of this user alone; remove it, or stage elsewhere: --stage DIR`)
}

async function gather(kind: StagingKind, directory: string): Promise<StagingPlace> {
  const unusable = (remark: string): StagingPlace => ({ kind, directory, freeBytes: null, remark })
  try {
    const existing = await nearestExisting(directory)
    if (!(await stat(existing)).isDirectory()) return unusable(`${existing} is not a directory`)
    await access(existing, constants.W_OK | constants.X_OK)
    const fileSystem = await statfs(existing)
    const inMemory = isInMemory(fileSystem)
    if (kind === "memory" && !inMemory) return unusable("it is not a tmpfs")
    const roomBytes = fileSystem.bavail * fileSystem.bsize
    const freeBytes = inMemory ? Math.min(roomBytes, await availableMemoryBytes()) : roomBytes
    return { kind, directory, freeBytes, remark: null }
  } catch (error) {
    return unusable(systemErrorCode(error) ?? "it can't be examined")
  }
}

/** A target that is a mount point has another file system beside it than in it. */
async function besideTarget(beside: StagingPlace, target: string): Promise<StagingPlace> {
  try {
    const [inside, outside] = await Promise.all([stat(await nearestExisting(target)), stat(await nearestExisting(beside.directory))])
    if (inside.dev === outside.dev || beside.remark !== null) return beside
    return { ...beside, remark: `it lies beside ${target}, on another file system, since a stage inside would be part of the tree` }
  } catch {
    return beside
  }
}

async function nearestExisting(path: string): Promise<string> {
  for (let at = path; ; at = dirname(at)) {
    try {
      await stat(at)
      return at
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT" || dirname(at) === at) throw error
    }
  }
}

/** What programs may take without swapping (proc_meminfo(5)): a tmpfs promises more than a machine under load has. */
async function availableMemoryBytes(): Promise<number> {
  try {
    const match = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile("/proc/meminfo", "utf8"))
    return match === null ? Infinity : Number(match[1]) * 1024
  } catch {
    return Infinity
  }
}
