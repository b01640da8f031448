/** Reads a directory tree through GNU tar: what was reported is the tree as it stood, or the capture fails. */
import { open, stat } from "node:fs/promises"
import { Readable } from "node:stream"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { bytesOf, type ByteString } from "./byte-string.ts"
import type { Entry } from "./entry.ts"
import { requireGnuTar, startCapture } from "./gnu-tar.ts"
import { Pipe } from "./pipe.ts"
import { TarFault } from "./tar-fault.ts"
import { TarReader } from "./tar-stream.ts"

export type CaptureParts = {
  readonly directory: string
  /** In order, with all directories on the way to each: nothing else is read; each is when it comes. All, where it is left out. */
  readonly paths?: Iterable<ByteString> | AsyncIterable<ByteString>
  /** Not read, nor what is below them. */
  readonly leftOut?: readonly ByteString[]
  readonly onEntry: (entry: Entry) => void
  /** Called with the canonical archive; the bytes are only lent. */
  readonly onArchive?: (bytes: Uint8Array) => void
  /** Awaited after every push from tar: here the taker catches up. */
  readonly pace?: () => Promise<void> | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (progress: { fileBytes: number; entryCount: number }) => void
}

export type CaptureSummary = { readonly entryCount: number; readonly fileBytes: number; readonly socketCount: number }

/**
 * @throws {GridError} SOURCE_MISSING, TOOL_MISSING, CAPTURE_FAILED
 * @throws what `signal` gives as its reason
 */
export async function captureTree(parts: CaptureParts): Promise<CaptureSummary> {
  parts.signal?.throwIfAborted()
  await requireDirectory(parts.directory)
  await requireGnuTar()
  const reader = new TarReader({ entry: parts.onEntry, ...(parts.onArchive && { emit: parts.onArchive }) })
  const pipe = await Pipe.create()
  const tar = startCapture(
    parts.directory,
    pipe,
    parts.paths === undefined ? null : Readable.from(namesOf(parts.paths)),
    parts.leftOut?.map((path) => bytesOf(path).toString("utf8")),
  )
  const stop = (): void => tar.kill()
  parts.signal?.addEventListener("abort", stop, { once: true })
  try {
    parts.signal?.throwIfAborted()
    await pipe.pour((bytes) => {
      reader.push(bytes)
      parts.onProgress?.(reader)
      parts.signal?.throwIfAborted()
      return parts.pace?.()
    })
    const outcome = await tar.outcome
    parts.signal?.throwIfAborted()
    if (outcome.exitCode !== 0 || outcome.complaint !== "") {
      const how = outcome.exitCode === null ? `was ended by ${outcome.signal}` : `ended with exit code ${outcome.exitCode}`
      throw new GridError(
        "CAPTURE_FAILED",
        `expected to read all of ${parts.directory}, but tar ${how}: ${outcome.complaint || "it said nothing"}`,
      )
    }
    reader.end()
    return { entryCount: reader.entryCount, fileBytes: reader.fileBytes, socketCount: outcome.socketCount }
  } catch (error) {
    tar.kill()
    // What tar complained about tells more than the cut in its output.
    const outcome = await tar.outcome.catch(() => null)
    parts.signal?.throwIfAborted()
    if (error instanceof TarFault) {
      const said = outcome?.complaint ?? ""
      throw new GridError("CAPTURE_FAILED", `tar's output for ${parts.directory}: ${error.message}${said && `; tar: ${said}`}`, {
        cause: error,
      })
    }
    throw error
  } finally {
    pipe.close()
    parts.signal?.removeEventListener("abort", stop)
  }
}

async function* namesOf(paths: Iterable<ByteString> | AsyncIterable<ByteString>): AsyncGenerator<Buffer> {
  for await (const path of paths) yield bytesOf(`./${path === "." ? "" : path}\0` as ByteString)
}

async function requireDirectory(directory: string): Promise<void> {
  const refuse = (found: string, cause?: unknown): never => {
    throw new GridError("SOURCE_MISSING", `expected a directory that can be read at ${directory}, found ${found}`, { cause })
  }
  try {
    if (!(await stat(directory)).isDirectory()) refuse("something else")
    await (await open(directory, "r")).close()
  } catch (error) {
    if (error instanceof GridError) throw error
    const code = systemErrorCode(error)
    refuse(code === "ENOENT" ? "nothing" : code === "EACCES" ? "one that this user may not read" : String(code), error)
  }
}
