/**
 * Invites: all that a machine needs to join, in one string of letters that survives mail, chat and paste. What
 * `decodeInvite` returns holds together: its certificate is an invite of its site, and its seed is that certificate's key.
 */
import { createHash } from "node:crypto"
import { address, formatAddress, type Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import { sha256, siteName, type Sha256, type SiteName } from "#core/identifiers.ts"
import { readCertificate } from "./certificate.ts"
import { KEY_BYTES, signingKeyFromSeed } from "./identity.ts"

export type Invite = {
  readonly site: SiteName
  /** SHA-256 of the site's first root metadata: where all trust begins. */
  readonly rootDigest: Sha256
  /** 32 bytes: authenticates every packet of the grid's DHT. */
  readonly networkKey: Buffer
  readonly authorityDer: Buffer
  /** The invite's own short-lived certificate. */
  readonly certificateDer: Buffer
  /** Ed25519 seed of that certificate's key. */
  readonly seed: Buffer
  /** Where servers of the site answered when the invite was made. */
  readonly api: readonly Address[]
  readonly dht: readonly Address[]
}

const PREFIX = "imagegrid1:"
const INVITE_LENGTH_MAX = 8 * 1024
/** Tells a damaged paste from a foreign one. It is no protection: the certificate's signature is. */
const CHECKSUM_BYTES = 8

/** @throws {GridError} INVITE_INVALID when it would be longer than `decodeInvite` takes */
export function encodeInvite(invite: Invite): string {
  const body = Buffer.concat([
    fixed(Buffer.from(invite.rootDigest, "hex")),
    fixed(invite.networkKey),
    fixed(invite.seed),
    field(Buffer.from(invite.site)),
    field(invite.authorityDer),
    field(invite.certificateDer),
    addressField(invite.api),
    addressField(invite.dht),
  ])
  const text = PREFIX + Buffer.concat([checksum(body), body]).toString("base64url")
  if (text.length > INVITE_LENGTH_MAX)
    throw new GridError("INVITE_INVALID", `${text.length} characters, at most ${INVITE_LENGTH_MAX} are taken; name fewer addresses`)
  return text
}

/**
 * Reads an invite as a person pasted it; line breaks and spaces inside are ignored. Whether it is still valid is not asked here.
 * @throws {GridError} INVITE_INVALID
 */
export function decodeInvite(text: string): Invite {
  if (text.length > 2 * INVITE_LENGTH_MAX) refuse("it is too long to be an invite")
  const compact = text.replaceAll(/\s+/g, "")
  if (!compact.startsWith(PREFIX)) refuse(`an invite begins with ${PREFIX}; copy the whole line that \`imagegrid invite\` printed`)
  const encoded = compact.slice(PREFIX.length)
  const bytes = Buffer.from(encoded, "base64url")
  const body = bytes.subarray(CHECKSUM_BYTES)
  if (
    compact.length > INVITE_LENGTH_MAX ||
    bytes.toString("base64url") !== encoded ||
    !checksum(body).equals(bytes.subarray(0, CHECKSUM_BYTES))
  )
    refuse("it was cut or changed on the way; copy the whole line that `imagegrid invite` printed")
  try {
    return readBody(body)
  } catch (cause) {
    throw new GridError("INVITE_INVALID", "its parts do not hold together; ask for another", { cause })
  }
}

/** What a joining member signs with its new key: that it holds the key, and for which invite (core/wire.ts JoinRequest). */
export function inviteProof(inviteId: string, signingKeyHex: string, sealingKeyHex: string): Buffer {
  if (!/^[0-9a-f]{32}$/.test(inviteId) || !/^[0-9a-f]{64}$/.test(signingKeyHex) || !/^[0-9a-f]{64}$/.test(sealingKeyHex))
    throw new TypeError("an invite id is 32 hex digits, a key 64")
  return Buffer.concat([Buffer.from("imagegrid join\0"), Buffer.from(inviteId + signingKeyHex + sealingKeyHex, "hex")])
}

function readBody(body: Buffer): Invite {
  let at = 0
  const take = (length: number): Buffer => {
    if (at + length > body.length) refuse("it ends too early")
    at += length
    return Buffer.from(body.subarray(at - length, at))
  }
  const takeField = (): Buffer => take(take(2).readUInt16BE())
  const takeAddresses = (): Address[] => {
    const text = takeField().toString("utf8")
    return text === "" ? [] : text.split(" ").map((one) => address(one))
  }
  const invite = {
    rootDigest: sha256(take(KEY_BYTES).toString("hex")),
    networkKey: take(KEY_BYTES),
    seed: take(KEY_BYTES),
    site: siteName(takeField().toString("utf8")),
    authorityDer: takeField(),
    certificateDer: takeField(),
    api: takeAddresses(),
    dht: takeAddresses(),
  }
  if (at !== body.length) refuse("bytes after its end")
  const certificate = readCertificate(invite.certificateDer)
  if (certificate.kind !== "invite" || certificate.site !== invite.site) refuse("its certificate is not an invite of its site")
  if (certificate.signingKeyHex !== signingKeyFromSeed(invite.seed).publicKeyHex) refuse("its key is not its certificate's")
  return invite
}

function fixed(bytes: Buffer): Buffer {
  if (bytes.length !== KEY_BYTES) throw new RangeError(`an invite's keys and digests are ${KEY_BYTES} bytes, not ${bytes.length}`)
  return bytes
}

function field(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function addressField(addresses: readonly Address[]): Buffer {
  return field(Buffer.from(addresses.map(formatAddress).join(" ")))
}

function checksum(body: Buffer): Buffer {
  return createHash("sha256").update("imagegrid invite\0").update(body).digest().subarray(0, CHECKSUM_BYTES)
}

function refuse(detail: string): never {
  throw new GridError("INVITE_INVALID", detail)
}
