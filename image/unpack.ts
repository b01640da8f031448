/**
 * A tar stream -> a directory tree, by GNU tar. Whether the tree is right is for verify-tree.ts to say.
 *
 * Invariant: every header was read here before tar saw it, and none that leaves the target, climbs through a link or is of a kind that
 * images do not have gets that far.
 */
import { once } from "node:events"
import type { Writable } from "node:stream"
import { GridError } from "#core/errors.ts"
import { requireGnuTar, startExtract, type TarOutcome } from "./gnu-tar.ts"
import { isDevice, type Entry } from "./entry.ts"
import { quoted, TarFault } from "./tar-fault.ts"
import { asBuffer, TarReader } from "./tar-stream.ts"
import { untilAborted } from "./until-aborted.ts"

/** What is done with character and block devices: made as the image has them, or refused. */
export type DevicePolicy = "make" | "refuse"

export type UnpackParts = {
  /** A directory that exists. */
  readonly target: string
  /** `refuse`: an archive with a character or block device is refused before tar sees the device, whatever the index said. */
  readonly devices?: DevicePolicy | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((progress: { bytes: number }) => void) | undefined
  /** Called with each entry and the digest of its content, which is taken only for that. */
  readonly onEntry?: ((entry: Entry) => void) | undefined
  /** Called with each entry, without the digest of its content, once tar is done with it; not with the last few. */
  readonly onMade?: ((entry: Entry) => void) | undefined
}

/**
 * Tar has finished an entry when it has read a record, 10 KiB, behind it. What it was sent and has not read is in a socket's buffer, some 200 KiB where nobody
 * made it larger.
 */
const BEHIND_TAR_BYTES = 2 * 1024 * 1024

/**
 * Resolves when tar has written everything and set every attribute. After a failure the target holds a part of the tree.
 * @throws {GridError} DEVICE_FORBIDDEN, DISK_FULL, EXTRACT_FAILED, NOT_PERMITTED, TOOL_MISSING
 * @throws what `content` throws, or what `signal` gives as its reason
 */
export async function unpackTree(content: AsyncIterable<Uint8Array>, parts: UnpackParts): Promise<void> {
  parts.signal?.throwIfAborted()
  await requireGnuTar()
  const { onEntry, onMade } = parts
  let bytes = 0
  const sent: { readonly entry: Entry; readonly endsAt: number }[] = []
  const entry = (one: Entry): void => {
    if (parts.devices === "refuse") refuseDevice(one)
    onEntry?.(one)
    if (onMade !== undefined) sent.push({ entry: one, endsAt: bytes })
  }
  const reader = new TarReader({ entry }, { contents: onEntry === undefined ? "skip" : "digest" })
  const tar = startExtract(parts.target)
  const gone = new AbortController()
  // Tar may end before it has read all: EPIPE then says less than its own complaint.
  tar.stdin.on("error", () => gone.abort())
  tar.stdin.once("close", () => gone.abort())
  const stop = (): void => {
    tar.kill()
    gone.abort()
  }
  parts.signal?.addEventListener("abort", stop, { once: true })
  try {
    for await (const chunk of parts.signal === undefined ? content : untilAborted(content, parts.signal)) {
      bytes += chunk.length
      reader.push(asBuffer(chunk))
      if (!(await write(tar.stdin, chunk, gone.signal))) break
      parts.onProgress?.({ bytes })
      if (onMade === undefined) continue
      const tarIsBehind = bytes - tar.stdin.writableLength - BEHIND_TAR_BYTES
      const going = sent.findIndex(({ endsAt }) => endsAt > tarIsBehind)
      for (const { entry: done } of sent.splice(0, going === -1 ? sent.length : going)) onMade(done)
    }
    parts.signal?.throwIfAborted()
    if (!gone.signal.aborted) {
      reader.end()
      tar.stdin.end()
    }
    const outcome = await tar.outcome
    parts.signal?.throwIfAborted()
    requireSuccess(outcome, parts.target)
    if (gone.signal.aborted && bytes === 0) throw new GridError("EXTRACT_FAILED", "tar ended before it was given anything")
  } catch (error) {
    tar.kill()
    await tar.outcome.catch(() => {})
    parts.signal?.throwIfAborted()
    if (error instanceof TarFault)
      throw new GridError("EXTRACT_FAILED", `the archive is not one of an image: ${error.message}`, { cause: error })
    throw error
  } finally {
    tar.stdin.destroy()
    parts.signal?.removeEventListener("abort", stop)
  }
}

function refuseDevice(entry: Entry): void {
  if (isDevice(entry))
    throw new GridError("DEVICE_FORBIDDEN", `the archive holds ${quoted(entry.path)}, which its index may have kept silent`)
}

/** False when tar no longer reads. */
async function write(stdin: Writable, chunk: Uint8Array, gone: AbortSignal): Promise<boolean> {
  if (gone.aborted) return false
  if (stdin.write(chunk)) return true
  try {
    await once(stdin, "drain", { signal: gone })
    return true
  } catch {
    return false
  }
}

function requireSuccess(outcome: TarOutcome, target: string): void {
  const { complaint, exitCode } = outcome
  // An attribute that could not be set is a warning to tar, which then ends with 0.
  if (exitCode === 0 && !complaint.includes("Cannot ")) return
  const how = exitCode === null ? `was ended by ${outcome.signal}` : `ended with exit code ${exitCode}`
  const detail = `tar ${how} when it unpacked into ${target}: ${complaint || "it said nothing"}`
  // A write that only a part fits in is not repeated by tar, so the system does not get to say why.
  if (/No space left on device|Disk quota exceeded|Wrote only \d+ of \d+ bytes/.test(complaint)) throw new GridError("DISK_FULL", detail)
  if (/Operation not permitted|Permission denied/.test(complaint)) throw new GridError("NOT_PERMITTED", `${detail}; run it as root`)
  throw new GridError("EXTRACT_FAILED", detail)
}
