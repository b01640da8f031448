/**
 * Reads the stream that GNU tar writes with the flags of gnu-tar.ts, as it passes.
 *
 * Invariant: what goes to `emit` is the archive in canonical form, and depends on the tree alone: extended attributes sorted by
 * name (tar gives them in the order of the file system), and nothing behind the end but zeros to a multiple of 10 KiB.
 * Whatever this reader does not know is refused, so no property of a file can be passed over in silence.
 */
import { TreeOrder, type Entry } from "./entry.ts"
import { noRecords, parsePax, type PaxRecords } from "./pax-records.ts"
import { requireFits, sinkFor, type ContentSink } from "./stored-content.ts"
import { quoted, TarFault } from "./tar-fault.ts"
import { BLOCK_BYTES, entryOf, kindOf, octal, requireChecksum } from "./ustar-header.ts"

/** What GNU tar pads an archive to when it is not told otherwise. */
const RECORD_BYTES = 20 * BLOCK_BYTES
/** All extended attributes of one file stand in one pax header. */
const PAX_BYTES_MAX = 16 * 1024 * 1024
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES)

export type TarListener = {
  /** Called for each entry, after the last byte of its content. */
  readonly entry?: (entry: Entry) => void
  /** Called with the canonical archive. The bytes are only lent. */
  readonly emit?: (bytes: Uint8Array) => void
}

export class TarReader {
  readonly #listener: TarListener
  /** `skip`: entries are checked and reported without digests, for a stream whose digest is known. */
  readonly #contents: "digest" | "skip"
  readonly #order = new TreeOrder()
  #state: "header" | "pax" | "content" | "end" = "header"

  /** The block or the pax records that a push ended in. */
  #partial: Buffer = Buffer.allocUnsafe(BLOCK_BYTES)
  #partialBytes = 0
  #pax: PaxRecords | null = null
  #paxBytes = 0

  #entry: Entry | null = null
  #content: ContentSink | null = null
  #contentLeft = 0
  #paddingLeft = 0
  #zeroBlocks = 0
  #emittedBytes = 0

  /** Bytes of file content in the entries so far, holes counted as the zeros that they read as. */
  fileBytes = 0
  entryCount = 0

  constructor(listener: TarListener, options: { readonly contents?: "digest" | "skip" } = {}) {
    this.#listener = listener
    this.#contents = options.contents ?? "digest"
  }

  /** @throws {TarFault} */
  push(chunk: Buffer): void {
    let at = 0
    while (at < chunk.length) {
      switch (this.#state) {
        case "header": {
          const block = this.#take(chunk, at, BLOCK_BYTES)
          at += block.taken
          if (block.whole !== null) this.#header(block.whole)
          break
        }
        case "pax": {
          const padded = padded512(this.#paxBytes)
          const body = this.#take(chunk, at, padded)
          at += body.taken
          if (body.whole !== null) this.#paxBody(body.whole)
          break
        }
        case "content":
          at += this.#contentBytes(chunk, at)
          break
        case "end":
          if (!isZero(chunk.subarray(at))) throw new TarFault("bytes follow the end of the archive")
          at = chunk.length
          break
      }
    }
  }

  /**
   * Call it after the last push.
   * @throws {TarFault} when the archive was cut short
   */
  end(): void {
    if (this.#state !== "end") throw new TarFault("the archive ends before its end mark")
    this.#emit(Buffer.alloc((RECORD_BYTES - (this.#emittedBytes % RECORD_BYTES)) % RECORD_BYTES))
  }

  /** The next `length` bytes when they are complete: lent from `chunk` if they lie in it, else gathered. */
  #take(chunk: Buffer, at: number, length: number): { taken: number; whole: Buffer | null } {
    if (this.#partialBytes === 0 && chunk.length - at >= length) return { taken: length, whole: chunk.subarray(at, at + length) }
    if (this.#partial.length < length) this.#partial = Buffer.allocUnsafe(length)
    const taken = Math.min(length - this.#partialBytes, chunk.length - at)
    chunk.copy(this.#partial, this.#partialBytes, at, at + taken)
    this.#partialBytes += taken
    if (this.#partialBytes < length) return { taken, whole: null }
    this.#partialBytes = 0
    return { taken, whole: this.#partial.subarray(0, length) }
  }

  #header(block: Buffer): void {
    if (block[0] === 0 && block.equals(ZERO_BLOCK)) {
      if (this.#pax !== null) throw new TarFault("the archive ends after a pax header")
      this.#zeroBlocks += 1
      if (this.#zeroBlocks === 2) this.#state = "end"
      this.#emit(block)
      return
    }
    if (this.#zeroBlocks > 0) throw new TarFault("a header follows a zero block")
    requireChecksum(block)
    const type = block[156]
    if (type === 0x78 /* x */) {
      if (this.#pax !== null) throw new TarFault("two pax headers for one entry")
      this.#paxBytes = octal(block, 124, 12, "size of a pax header")
      if (this.#paxBytes === 0 || this.#paxBytes > PAX_BYTES_MAX)
        throw new TarFault(`a pax header has ${this.#paxBytes} bytes, 1 to ${PAX_BYTES_MAX} are taken`)
      this.#emit(block)
      this.#state = "pax"
      return
    }
    const kind = kindOf(type)
    const pax = this.#pax ?? noRecords()
    this.#pax = null
    this.#begin(entryOf(block, kind, pax), block, pax)
    this.#emit(block)
  }

  #paxBody(padded: Buffer): void {
    const body = padded.subarray(0, this.#paxBytes)
    const { records, canonical } = parsePax(body)
    this.#pax = records
    this.#emit(canonical)
    this.#emit(padded.subarray(this.#paxBytes))
    this.#state = "header"
  }

  #begin(entry: Entry, block: Buffer, pax: PaxRecords): void {
    const fault = this.#order.fault(entry)
    if (fault !== null) throw new TarFault(`the name ${quoted(entry.path)} ${fault}`)
    const stored = pax.size ?? octal(block, 124, 12, "size")
    if (stored > 0 && entry.kind !== "file") throw new TarFault(`${quoted(entry.path)} is no file and has ${stored} bytes`)
    this.#entry = entry
    this.#contentLeft = stored
    this.#paddingLeft = padded512(stored) - stored
    if (entry.kind === "file" && this.#contents === "digest") this.#content = sinkFor(stored, pax.sparse, entry.path)
    if (entry.kind === "file" && this.#contents === "skip" && pax.sparse !== null) requireFits(pax.sparse, stored, entry.path)
    this.#state = "content"
    if (stored === 0) this.#finishEntry()
  }

  #contentBytes(chunk: Buffer, from: number): number {
    const content = Math.min(this.#contentLeft, chunk.length - from)
    if (content > 0) {
      const part = chunk.subarray(from, from + content)
      this.#content?.update(part)
      this.#contentLeft -= content
    }
    const padding = this.#contentLeft > 0 ? 0 : Math.min(this.#paddingLeft, chunk.length - from - content)
    if (padding > 0) {
      if (!isZero(chunk.subarray(from + content, from + content + padding))) throw new TarFault("padding is not zeros")
      this.#paddingLeft -= padding
    }
    this.#emit(chunk.subarray(from, from + content + padding))
    if (this.#contentLeft === 0 && this.#paddingLeft === 0) this.#finishEntry()
    return content + padding
  }

  #finishEntry(): void {
    let entry = this.#entry
    if (entry === null) throw new Error("unreachable: content without an entry")
    if (entry.kind === "file") {
      this.fileBytes += entry.size
      if (this.#content !== null) entry = { ...entry, ...this.#content.finish() }
    }
    this.#entry = null
    this.#content = null
    this.entryCount += 1
    this.#state = "header"
    this.#listener.entry?.(entry)
  }

  #emit(bytes: Uint8Array): void {
    this.#emittedBytes += bytes.length
    this.#listener.emit?.(bytes)
  }
}

function padded512(length: number): number {
  return Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES
}

function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const part = bytes.subarray(at, at + BLOCK_BYTES)
    if (!part.equals(part.length === BLOCK_BYTES ? ZERO_BLOCK : ZERO_BLOCK.subarray(0, part.length))) return false
  }
  return true
}

/** For a chunk that is not a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
