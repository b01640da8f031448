/** The directory that an image is unpacked into: what is there, and emptying it without leaving it. */
import { constants } from "node:fs"
import { closeSync, fstatSync, lstatSync, openSync, readdirSync, rmdirSync, unlinkSync } from "node:fs"
import { readdir, stat } from "node:fs/promises"
import { setImmediate as nextTurn } from "node:timers/promises"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { byteString, printable } from "./byte-string.ts"

export type TargetState = {
  readonly kind: "missing" | "empty" | "occupied"
  /** Null when missing. */
  readonly device: bigint | null
  readonly inode: bigint | null
}

/** What mkfs puts into every ext file system's top directory; fsck would make it again. */
export const LOST_AND_FOUND = "lost+found"
/** Where updates work, at the top of a target: in no image, and passed over when a tree is read. */
export const WORK_DIRECTORY = ".imagegrid"
const SLICE_MS = 10

/**
 * A directory with nothing, or `lost+found` alone, is empty.
 * @throws {GridError} TARGET_UNSUITABLE when it is something else than a directory; NOT_PERMITTED when it can't be read
 */
export async function inspectTarget(target: string): Promise<TargetState> {
  try {
    const found = await stat(target, { bigint: true })
    if (!found.isDirectory()) throw new GridError("TARGET_UNSUITABLE", `expected a directory or nothing at ${target}, found something else`)
    const names = await readdir(target, { encoding: "buffer" })
    const occupied = names.some((name) => name.toString("latin1") !== LOST_AND_FOUND)
    return { kind: occupied ? "occupied" : "empty", device: found.dev, inode: found.ino }
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === "ENOENT") return { kind: "missing", device: null, inode: null }
    if (code === "ENOTDIR") throw new GridError("TARGET_UNSUITABLE", `a part of ${target} is no directory`, { cause: error })
    if (code === "EACCES") throw new GridError("NOT_PERMITTED", `this user may not read ${target}`, { cause: error })
    throw error
  }
}

/**
 * Removes everything in `target`, but not itself, and neither what is mounted below it nor the directories on the way there. Names
 * are never looked up through a path that someone else could turn into a link meanwhile: each directory is held open and
 * reached through /proc/self/fd.
 * @throws {GridError} NOT_PERMITTED
 */
export async function clearTree(target: string): Promise<void> {
  const root = openSync(target, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await clearDirectory(root, fstatSync(root, { bigint: true }).dev, { untilMs: performance.now() + SLICE_MS })
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === "EACCES" || code === "EPERM" || code === "EROFS")
      throw new GridError("NOT_PERMITTED", `${target} can't be emptied: ${error instanceof Error ? error.message : code}`, { cause: error })
    throw error
  } finally {
    closeSync(root)
  }
}

/** True when nothing is left in it. System calls block, in slices: promises for a million names would cost more than the work. */
async function clearDirectory(directory: number, device: bigint, slice: { untilMs: number }): Promise<boolean> {
  const prefix = `/proc/self/fd/${directory}/`
  let empty = true
  for (const entry of readdirSync(prefix, { encoding: "buffer", withFileTypes: true })) {
    const path = Buffer.concat([Buffer.from(prefix), entry.name])
    if (performance.now() > slice.untilMs) {
      await nextTurn()
      slice.untilMs = performance.now() + SLICE_MS
    }
    if (!entry.isDirectory()) {
      try {
        unlinkSync(path)
      } catch (error) {
        // A file can be a mount point too.
        if (systemErrorCode(error) === "EBUSY") empty = false
        else throw named(error, entry.name)
      }
      continue
    }
    let inner: number
    try {
      if (lstatSync(path, { bigint: true }).dev !== device) {
        empty = false
        continue
      }
      inner = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
    } catch (error) {
      throw named(error, entry.name)
    }
    let cleared = false
    try {
      cleared = fstatSync(inner, { bigint: true }).dev === device && (await clearDirectory(inner, device, slice))
    } finally {
      closeSync(inner)
    }
    if (cleared) rmdirSync(path)
    else empty = false
  }
  return empty
}

/** System errors name the path in /proc; people want the name. */
function named(error: unknown, name: Buffer): unknown {
  if (error instanceof Error) error.message += ` (${printable(byteString(name))})`
  return error
}
