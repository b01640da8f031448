/**
 * Small files that are either whole or absent. A write goes to a temporary name, is made durable, takes its name by rename, and the
 * directory is made durable too: after a crash the old file stands, or the new one, never a part of either.
 */
import { randomBytes } from "node:crypto"
import { constants } from "node:fs"
import { open, readdir, rename, unlink, type FileHandle } from "node:fs/promises"
import { dirname, join } from "node:path"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { diskFull, isDiskFull } from "./disk-full.ts"
import { isRunning } from "./process.ts"

const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = constants
const GROUP_AND_OTHERS = 0o077

/**
 * Replaces `path` with these bytes. A `mode` is set exactly, whatever the umask.
 * @throws {GridError} DISK_FULL; the old file stands then
 */
export async function writeFileDurably(
  path: string,
  bytes: Uint8Array | string,
  options: { readonly mode?: number | undefined } = {},
): Promise<void> {
  const temporary = temporaryName(path)
  try {
    const file = await open(temporary, "wx", options.mode ?? 0o666)
    try {
      if (options.mode !== undefined) await file.chmod(options.mode)
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw isDiskFull(error) ? await diskFull(dirname(path), bytes.length, error) : error
  }
  await syncDirectory(dirname(path))
}

/** Removes a file if it is there; resolves when its absence is durable. */
export async function removeDurably(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return
    throw error
  }
  await syncDirectory(dirname(path))
}

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, O_RDONLY | O_DIRECTORY)
  try {
    await directory.sync()
  } catch (error) {
    // Some file systems can't do this and need not.
    if (systemErrorCode(error) !== "EINVAL") throw error
  } finally {
    await directory.close()
  }
}

/**
 * Reads a file of at most `maxBytes`. System errors (ENOENT ...) come through as they are.
 * @throws {GridError} STATE_DAMAGED when it is longer, or no regular file
 */
export async function readBounded(
  path: string,
  maxBytes: number,
  options: { readonly symlinks?: "follow" | "refuse" } = {},
): Promise<Buffer> {
  // O_NONBLOCK: a FIFO in the file's place must not hold us up.
  const file = await open(path, O_RDONLY | O_NONBLOCK | (options.symlinks === "refuse" ? O_NOFOLLOW : 0))
  try {
    const status = await file.stat()
    if (!status.isFile()) throw new GridError("STATE_DAMAGED", `${path} is not a regular file; remove it`)
    return await readUpTo(file, status.size, maxBytes, () => {
      throw new GridError("STATE_DAMAGED", `${path} is longer than ${maxBytes} bytes, the most that belongs there; restore or remove it`)
    })
  } finally {
    await file.close()
  }
}

/**
 * Reads a file that holds a secret. System errors (ENOENT ...) come through as they are.
 * @throws {GridError} KEY_INVALID when group or others may read or write it, it is a symbolic link, no regular file or too long
 */
export async function readSecretFile(path: string, maxBytes: number): Promise<Buffer> {
  const refuse = (detail: string, cause?: unknown): never => {
    throw new GridError("KEY_INVALID", `${path} ${detail}`, { cause })
  }
  let file: FileHandle
  try {
    file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch (error) {
    if (systemErrorCode(error) === "ELOOP") refuse("is a symbolic link; put the file itself there", error)
    throw error
  }
  try {
    const status = await file.stat()
    if (!status.isFile()) refuse("is not a regular file; restore it from a backup")
    const mode = status.mode & 0o777
    if ((mode & GROUP_AND_OTHERS) !== 0)
      refuse(`has mode ${mode.toString(8).padStart(4, "0")}, which lets others at it; if nobody did so far, run: chmod 600 '${path}'`)
    return await readUpTo(file, status.size, maxBytes, () => refuse(`is longer than ${maxBytes} bytes; restore it from a backup`))
  } finally {
    await file.close()
  }
}

async function readUpTo(file: FileHandle, size: number, maxBytes: number, tooLong: () => never): Promise<Buffer> {
  if (size > maxBytes) tooLong()
  // One byte more than stat said shows a file that grows, and files of /proc that have no size.
  const bytes = Buffer.allocUnsafe(Math.max(size, Math.min(maxBytes, 4096)) + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await file.read(bytes, length, bytes.length - length, length)
    if (bytesRead === 0) return bytes.subarray(0, length)
    length += bytesRead
    if (length > maxBytes || length === bytes.length) tooLong()
  }
}

/** A name beside `path` that tells whose it is, so that what a dead process left behind can be told from work in progress. */
export function temporaryName(path: string): string {
  return `${path}.tmp-${process.pid}-${randomBytes(6).toString("hex")}`
}

/** True for names that `temporaryName` gives. */
export function isTemporaryName(name: string): boolean {
  return ownerOf(name) !== null
}

/** Names in `directory` that a process which is no more has left there. */
export async function deadTemporaries(directory: string): Promise<string[]> {
  const names = await readdir(directory)
  return names
    .filter((name) => {
      const pid = ownerOf(name)
      return pid !== null && !isRunning(pid)
    })
    .map((name) => join(directory, name))
}

function ownerOf(name: string): number | null {
  const match = /\.tmp-(\d{1,10})-[0-9a-f]{12}$/.exec(name)
  return match === null ? null : Number(match[1])
}
