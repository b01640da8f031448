/** Takes lines and counted bytes out of a stream, in turn. */
import { GridError } from "#core/errors.ts"

const NEWLINE = 0x0a

export class StreamReader {
  readonly #source: AsyncIterator<Uint8Array>
  /** Came, and was not taken. */
  #rest: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** The next line, without its newline. @throws {GridError} SEALED_INVALID when there is none of so many bytes at most */
  async line(maxBytes: number): Promise<string> {
    const parts: Buffer[] = []
    let bytes = 0
    for (;;) {
      const end = this.#rest.indexOf(NEWLINE)
      const part = end < 0 ? this.#rest : this.#rest.subarray(0, end)
      bytes += part.length
      if (bytes > maxBytes) throw new GridError("SEALED_INVALID", `a line of more than ${maxBytes} bytes in a layer`)
      parts.push(part)
      if (end >= 0) {
        this.#rest = this.#rest.subarray(end + 1)
        return Buffer.concat(parts).toString("latin1")
      }
      if (!(await this.#more())) throw new GridError("SEALED_INVALID", "a layer ends within a line")
    }
  }

  /** The next `length` bytes, in the chunks that they come in: lent until the next one is asked for. @throws {GridError} SEALED_INVALID */
  async *bytes(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0;) {
      if (this.#rest.length === 0 && !(await this.#more())) throw new GridError("SEALED_INVALID", `a layer ends ${left} bytes too early`)
      const part = this.#rest.subarray(0, left)
      this.#rest = this.#rest.subarray(part.length)
      left -= part.length
      yield part
    }
  }

  /** Reads to the end, where whatever checks the stream as a whole may fail. @throws {GridError} SEALED_INVALID when anything is left */
  async end(): Promise<void> {
    if (this.#rest.length > 0 || (await this.#more())) throw new GridError("SEALED_INVALID", "bytes follow the end of a layer")
  }

  async close(): Promise<void> {
    await this.#source.return?.()
  }

  async #more(): Promise<boolean> {
    for (;;) {
      const next = await this.#source.next()
      if (next.done === true) return false
      const { buffer, byteOffset, byteLength } = next.value
      this.#rest = Buffer.from(buffer, byteOffset, byteLength)
      if (byteLength > 0) return true
    }
  }
}
