/**
 * age v1 files (age-encryption.org/v1) to one X25519 recipient, written and read in pushes.
 *
 * Invariant: no plaintext leaves an `AgeOpener` before the tag of its own chunk was verified; that the file was whole is
 * known only once `final()` returned, so nothing made from the plaintext may count as finished before that.
 *
 * The header is typage's; the payload is STREAM over ChaCha20-Poly1305 by node:crypto, ten times as fast.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from "node:crypto"
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from "age-encryption"
import { GridError, reasonOf } from "#core/errors.ts"

/** Plaintext bytes of every chunk but the last (age-encryption.org/v1, "Payload"). */
const CHUNK_BYTES = 64 * 1024
const TAG_BYTES = 16
const SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
const PAYLOAD_NONCE_BYTES = 16
const CIPHER = "chacha20-poly1305"
/** A header with one X25519 stanza has 200 bytes; what is larger was not written here. */
const HEADER_BYTES_MAX = 8 * 1024
/** node:crypto allocates the result of each update; 16 KiB ones come from malloc's fast path. */
const CIPHER_STEP_BYTES = 16 * 1024

/** A fresh age key pair: `AGE-SECRET-KEY-1…`, which is a secret, and its `age1…`. */
export async function newImageIdentity(): Promise<{ identity: string; recipient: string }> {
  const identity = await generateX25519Identity()
  return { identity, recipient: await identityToRecipient(identity) }
}

/** Seals bytes that are pushed in, in order. Every buffer it returns is the caller's. */
export class AgeSealer {
  readonly #stream: ChunkStream
  readonly #held = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  #heldBytes = 0
  /** Header and payload nonce, until the first output takes them along. */
  #preamble: Buffer | null

  private constructor(preamble: Buffer, payloadKey: Buffer) {
    this.#preamble = preamble
    this.#stream = new ChunkStream(payloadKey)
  }

  /** @throws {GridError} KEY_INVALID when `recipient` is not an `age1…` X25519 public key */
  static async create(recipient: string): Promise<AgeSealer> {
    let fileKey: Uint8Array | undefined
    const encrypter = new Encrypter()
    try {
      if (recipient.startsWith("age1pq1") || recipient.startsWith("age1tag")) throw new Error("not an X25519 recipient")
      encrypter.addRecipient(recipient)
    } catch (cause) {
      throw new GridError("KEY_INVALID", "expected an age X25519 recipient, age1 and 58 more characters", { cause })
    }
    // A second recipient that adds no stanza: typage keeps the file key to itself otherwise.
    encrypter.addRecipient({
      wrapFileKey(key) {
        fileKey = key.slice()
        return []
      },
    })
    const empty = await encrypter.encrypt(new Uint8Array(0))
    if (fileKey === undefined) throw new Error("typage did not wrap the file key")
    const header = Buffer.from(empty.subarray(0, empty.length - PAYLOAD_NONCE_BYTES - TAG_BYTES))
    const nonce = randomBytes(PAYLOAD_NONCE_BYTES)
    return new AgeSealer(Buffer.concat([header, nonce]), payloadKeyOf(fileKey, nonce))
  }

  /** Takes plaintext; returns what could be sealed of all so far, often nothing. */
  update(plain: Uint8Array): Buffer[] {
    const total = this.#heldBytes + plain.length
    if (total <= CHUNK_BYTES) {
      this.#held.set(plain, this.#heldBytes)
      this.#heldBytes = total
      return []
    }
    // A full chunk stays held while it may turn out to be the last one, which is sealed differently.
    const chunkCount = Math.ceil(total / CHUNK_BYTES) - 1
    const sealed = this.#output(chunkCount * SEALED_CHUNK_BYTES)
    let into = sealed.length - chunkCount * SEALED_CHUNK_BYTES
    let from = 0
    if (this.#heldBytes > 0) {
      from = CHUNK_BYTES - this.#heldBytes
      this.#held.set(plain.subarray(0, from), this.#heldBytes)
      into = this.#stream.seal(this.#held, false, sealed, into)
    }
    while (into < sealed.length) {
      into = this.#stream.seal(plain.subarray(from, from + CHUNK_BYTES), false, sealed, into)
      from += CHUNK_BYTES
    }
    this.#held.set(plain.subarray(from))
    this.#heldBytes = plain.length - from
    return [sealed]
  }

  /** Seals the last chunk. Call it once, after all updates. */
  final(): Buffer[] {
    const sealed = this.#output(this.#heldBytes + TAG_BYTES)
    const into = sealed.length - this.#heldBytes - TAG_BYTES
    this.#stream.seal(this.#held.subarray(0, this.#heldBytes), true, sealed, into)
    return [sealed]
  }

  #output(payloadBytes: number): Buffer {
    const preamble = this.#preamble
    if (preamble === null) return Buffer.allocUnsafeSlow(payloadBytes)
    this.#preamble = null
    const output = Buffer.allocUnsafeSlow(preamble.length + payloadBytes)
    output.set(preamble)
    return output
  }
}

/** Opens an age file that is pushed in, in order. Every buffer it returns is the caller's. */
export class AgeOpener {
  readonly #decrypter: Decrypter
  /** Until the header and the payload's nonce are complete: what came so far. */
  #preamble: Buffer | null = Buffer.alloc(0)
  #stream: ChunkStream | null = null
  readonly #held = Buffer.allocUnsafeSlow(SEALED_CHUNK_BYTES)
  #heldBytes = 0

  /** @throws {GridError} KEY_INVALID when `identity` is not an `AGE-SECRET-KEY-1…` */
  constructor(identity: string) {
    this.#decrypter = new Decrypter()
    try {
      if (!identity.startsWith("AGE-SECRET-KEY-1")) throw new Error("not an X25519 identity")
      this.#decrypter.addIdentity(identity)
    } catch {
      // No cause: its message could quote the key.
      throw new GridError("KEY_INVALID", "expected an age X25519 identity, AGE-SECRET-KEY-1 and 58 more characters")
    }
  }

  /**
   * Takes sealed bytes; resolves to the plaintext of every chunk that is complete and verified.
   * @throws {GridError} SEALED_INVALID
   */
  async update(sealed: Uint8Array): Promise<Buffer[]> {
    if (this.#preamble === null) return this.#open(sealed)
    this.#preamble = Buffer.concat([this.#preamble, sealed])
    const headerBytes = headerBytesIn(this.#preamble)
    if (headerBytes === null || this.#preamble.length < headerBytes + PAYLOAD_NONCE_BYTES) return []
    const rest = this.#preamble.subarray(headerBytes + PAYLOAD_NONCE_BYTES)
    const nonce = this.#preamble.subarray(headerBytes, headerBytes + PAYLOAD_NONCE_BYTES)
    let fileKey: Uint8Array
    try {
      fileKey = await this.#decrypter.decryptHeader(this.#preamble.subarray(0, headerBytes))
    } catch (cause) {
      const reason = reasonOf(cause)
      throw new GridError("SEALED_INVALID", `the age header does not open: ${reason}`, { cause })
    }
    this.#stream = new ChunkStream(payloadKeyOf(fileKey, nonce))
    this.#preamble = null
    return this.#open(rest)
  }

  /**
   * Opens the last chunk; after it returned, the file was whole. Call it once, after all updates.
   * @throws {GridError} SEALED_INVALID when the file was cut short or goes on after its end
   */
  final(): Buffer[] {
    if (this.#stream === null) throw new GridError("SEALED_INVALID", "ends within the age header")
    const plain = Buffer.allocUnsafeSlow(Math.max(0, this.#heldBytes - TAG_BYTES))
    if (this.#heldBytes < TAG_BYTES || (plain.length === 0 && this.#stream.chunkCount > 0))
      throw new GridError("SEALED_INVALID", "ends before its last chunk")
    this.#stream.open(this.#held.subarray(0, this.#heldBytes), true, plain, 0)
    return plain.length === 0 ? [] : [plain]
  }

  #open(sealed: Uint8Array): Buffer[] {
    const stream = this.#stream
    if (stream === null) throw new Error("unreachable: no payload key yet")
    const total = this.#heldBytes + sealed.length
    if (total <= SEALED_CHUNK_BYTES) {
      this.#held.set(sealed, this.#heldBytes)
      this.#heldBytes = total
      return []
    }
    const chunkCount = Math.ceil(total / SEALED_CHUNK_BYTES) - 1
    const plain = Buffer.allocUnsafeSlow(chunkCount * CHUNK_BYTES)
    let into = 0
    let from = 0
    if (this.#heldBytes > 0) {
      from = SEALED_CHUNK_BYTES - this.#heldBytes
      this.#held.set(sealed.subarray(0, from), this.#heldBytes)
      into = stream.open(this.#held, false, plain, into)
    }
    while (into < plain.length) {
      into = stream.open(sealed.subarray(from, from + SEALED_CHUNK_BYTES), false, plain, into)
      from += SEALED_CHUNK_BYTES
    }
    this.#held.set(sealed.subarray(from))
    this.#heldBytes = sealed.length - from
    return [plain]
  }
}

/** The STREAM construction: one key, an 11-byte big-endian chunk counter and a byte that marks the last chunk as nonce. */
class ChunkStream {
  readonly #key: Buffer
  readonly #nonce = Buffer.alloc(12)
  chunkCount = 0

  constructor(key: Buffer) {
    this.#key = key
  }

  /** Writes ciphertext and tag to `into` at `offset`; returns the offset behind them. */
  seal(plain: Uint8Array, last: boolean, into: Buffer, offset: number): number {
    const cipher = createCipheriv(CIPHER, this.#key, this.#nextNonce(last), { authTagLength: TAG_BYTES })
    for (let at = 0; at < plain.length; at += CIPHER_STEP_BYTES)
      into.set(cipher.update(plain.subarray(at, at + CIPHER_STEP_BYTES)), offset + at)
    cipher.final()
    into.set(cipher.getAuthTag(), offset + plain.length)
    return offset + plain.length + TAG_BYTES
  }

  /** Writes the plaintext to `into` at `offset`; returns the offset behind it. What a refused chunk left in `into` must not be used. */
  open(sealed: Uint8Array, last: boolean, into: Buffer, offset: number): number {
    const plainBytes = sealed.length - TAG_BYTES
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nextNonce(last), { authTagLength: TAG_BYTES })
    decipher.setAuthTag(sealed.subarray(plainBytes))
    for (let at = 0; at < plainBytes; at += CIPHER_STEP_BYTES)
      into.set(decipher.update(sealed.subarray(at, Math.min(at + CIPHER_STEP_BYTES, plainBytes))), offset + at)
    try {
      decipher.final()
    } catch (cause) {
      const where = last ? "the end is missing, damaged or followed by other bytes" : "damaged"
      throw new GridError("SEALED_INVALID", `chunk ${this.chunkCount - 1} does not verify: ${where}`, { cause })
    }
    return offset + plainBytes
  }

  #nextNonce(last: boolean): Buffer {
    this.#nonce.writeUIntBE(this.chunkCount, 5, 6)
    this.#nonce[11] = last ? 1 : 0
    this.chunkCount += 1
    return this.#nonce
  }
}

function payloadKeyOf(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync("sha256", fileKey, nonce, "payload", 32))
}

/** Length of the header with its line of the MAC, or null while that line is not complete. */
function headerBytesIn(start: Buffer): number | null {
  const version = "age-encryption.org/v1\n"
  if (!start.subarray(0, version.length).equals(Buffer.from(version).subarray(0, start.length)))
    throw new GridError("SEALED_INVALID", "does not begin as an age file does")
  const macLine = start.indexOf("\n---")
  const end = macLine < 0 ? -1 : start.indexOf("\n", macLine + 1)
  if (end >= 0 && end < HEADER_BYTES_MAX) return end + 1
  if (end >= 0 || start.length > HEADER_BYTES_MAX)
    throw new GridError("SEALED_INVALID", `the age header has more than ${HEADER_BYTES_MAX} bytes`)
  return null
}
