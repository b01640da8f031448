/**
 * A pipe from a child process whose bytes are read into one buffer, again and again.
 *
 * What node:child_process gives is a socket pair with a new buffer for every 64 KiB: at a gigabyte, a tenth of the time that a publish
 * takes goes into that and into collecting the buffers. Node can't make a pipe, but it can open one that has a name for a moment.
 */
import { execFile } from "node:child_process"
import { randomUUID } from "node:crypto"
import { closeSync, constants, openSync } from "node:fs"
import { rm } from "node:fs/promises"
import { Socket } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { GridError, reasonOf, systemErrorCode } from "#core/errors.ts"

/** What Linux keeps in a pipe (pipe(7)): no read gives more. */
const PIPE_BYTES = 64 * 1024

export class Pipe {
  readonly #readEnd: number
  #writeEnd: number | null
  #socket: Socket | null = null

  private constructor(readEnd: number, writeEnd: number) {
    this.#readEnd = readEnd
    this.#writeEnd = writeEnd
  }

  /** @throws {GridError} TOOL_MISSING, CAPTURE_FAILED */
  static async create(): Promise<Pipe> {
    const name = join(tmpdir(), `imagegrid-pipe-${randomUUID()}`)
    try {
      await promisify(execFile)("mkfifo", ["-m", "600", name])
      // In this order, and without waiting in either: the reader is there when the writer comes.
      const readEnd = openSync(name, constants.O_RDONLY | constants.O_NONBLOCK)
      return new Pipe(readEnd, openSync(name, constants.O_WRONLY))
    } catch (cause) {
      if (systemErrorCode(cause) === "ENOENT")
        throw new GridError("TOOL_MISSING", "expected mkfifo on the PATH, found none; install it (Debian: apt install coreutils)", {
          cause,
        })
      const reason = reasonOf(cause)
      throw new GridError("CAPTURE_FAILED", `expected to make a pipe at ${name}: ${reason.trim()}`, { cause })
    } finally {
      await rm(name, { force: true })
    }
  }

  /** The file descriptor for the child's output. */
  get writeEnd(): number {
    if (this.#writeEnd === null) throw new Error("the write end is closed")
    return this.#writeEnd
  }

  /** Call it once the child has the write end: the pipe ends when nobody holds it any more. */
  closeWriteEnd(): void {
    if (this.#writeEnd !== null) closeSync(this.#writeEnd)
    this.#writeEnd = null
  }

  /**
   * Gives all bytes to `take`, lent for the call, and waits for the promise that it may return. Resolves at the end of the
   * pipe. Call it once.
   * @throws what `take` throws
   */
  pour(take: (bytes: Buffer) => Promise<void> | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const buffer = Buffer.allocUnsafeSlow(PIPE_BYTES)
    const callback = (length: number): boolean => {
      try {
        const pause = take(buffer.subarray(0, length))
        if (pause === undefined) return true
        pause.then(() => socket.resume(), reject)
      } catch (error) {
        reject(error)
      }
      return false
    }
    const socket = new Socket({ fd: this.#readEnd, readable: true, writable: false, onread: { buffer, callback } })
    this.#socket = socket
    socket.once("end", resolve)
    socket.once("error", reject)
    socket.once("close", resolve)
    socket.resume()
    return promise
  }

  /** Closes both ends; `pour` resolves if it had not. */
  close(): void {
    this.closeWriteEnd()
    if (this.#socket === null) closeSync(this.#readEnd)
    else this.#socket.destroy()
  }
}
