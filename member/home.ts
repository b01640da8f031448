/**
 * The directory in which one member keeps itself. Every file in it is either whole or absent, secrets are files of mode
 * 0600 under `keys/`, and `member.json` is written last when a home is made: a directory without it is no home.
 */
import { mkdir, readdir, rm } from "node:fs/promises"
import { dirname, join } from "node:path"
import { Type, type Static } from "typebox"
import { memberIdentity, type MemberIdentity } from "#crypto/identity.ts"
import { readCertificate, type MemberCertificate, type MemberRole } from "#crypto/certificate.ts"
import { address, formatAddress, type Address } from "#core/address.ts"
import { Hex16, Hex32, Label, WholeNumber } from "#core/documents.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { memberId, sha256, siteName, type MemberId, type Sha256, type SiteName } from "#core/identifiers.ts"
import { parseJson, reader } from "#core/schema.ts"
import { readMemberSecrets, type MemberSecrets, type OnlineSecrets } from "#core/wire.ts"
import { isTemporaryName, readBounded, readSecretFile, writeFileDurably } from "#store/atomic-file.ts"
import { lockHome, type HomeLock } from "#store/home-lock.ts"
import { lockKeys } from "./keys-lock.ts"
import { finishSwitch } from "./member-switch.ts"

const strict = { additionalProperties: false } as const
const HomeAddress = Type.String({ maxLength: 260 })

const MemberFile = Type.Object(
  {
    format: Type.Literal("imagegrid-home-1"),
    site: Label,
    role: Type.Union([Type.Literal("server"), Type.Literal("mirror"), Type.Literal("client")]),
    memberId: Hex16,
    /** SHA-256 of the site's first root metadata: what all trust starts from. */
    rootDigest: Hex32,
    /** Where this member listens; `api` is a server's alone. Port 0 means any free one. */
    listen: Type.Object({ api: Type.Optional(HomeAddress), swarm: HomeAddress, dht: HomeAddress }, strict),
    /** API and DHT addresses from the invite: the first that were ever known. */
    firstKnown: Type.Object({ api: Type.Array(HomeAddress, { maxItems: 64 }), dht: Type.Array(HomeAddress, { maxItems: 64 }) }, strict),
    createdAtMs: WholeNumber,
  },
  strict,
)
const readMemberFile = reader(MemberFile, "HOME_INVALID", "member.json")

export type HomeContents = {
  readonly site: SiteName
  readonly role: MemberRole
  readonly rootDigest: Sha256
  readonly listen: { readonly api: Address | null; readonly swarm: Address; readonly dht: Address }
  readonly firstKnown: { readonly api: readonly Address[]; readonly dht: readonly Address[] }
  readonly seed: Uint8Array
  readonly certificateDer: Buffer
  readonly secrets: MemberSecrets
  readonly catalogBytes: Buffer
  readonly createdAtMs: number
}

/** Where catalogs of other sites are kept. */
const FEDERATED = "federated"
const SECRET_FILE_BYTES_MAX = 1024 * 1024

/** Where a home keeps its secrets: those of the member, and in an administrator's home its own signing keys. */
export function keysDirectory(homeDirectory: string): string {
  return join(homeDirectory, "keys")
}

/** A listener may have port 0: any free one. */
function listening(text: string): Address {
  return address(text, { anyPort: true })
}

export class Home {
  readonly directory: string
  readonly site: SiteName
  readonly role: MemberRole
  readonly memberId: MemberId
  readonly rootDigest: Sha256
  readonly listen: HomeContents["listen"]
  readonly firstKnown: HomeContents["firstKnown"]
  readonly identity: MemberIdentity

  private constructor(directory: string, file: Static<typeof MemberFile>, identity: MemberIdentity) {
    this.directory = directory
    this.site = siteName(file.site)
    this.role = file.role
    this.memberId = memberId(file.memberId)
    this.rootDigest = sha256(file.rootDigest)
    this.listen = {
      api: file.listen.api === undefined ? null : listening(file.listen.api),
      swarm: listening(file.listen.swarm),
      dht: listening(file.listen.dht),
    }
    this.firstKnown = { api: file.firstKnown.api.map((at) => address(at)), dht: file.firstKnown.dht.map((at) => address(at)) }
    this.identity = identity
  }

  /**
   * Opens a home that was made by `site create` or `join`.
   * @throws {GridError} HOME_INVALID, KEY_INVALID
   */
  static async open(directory: string): Promise<Home> {
    await finishSwitch(directory)
    const file = readMemberFile(await readJson(join(directory, "member.json"), 64 * 1024, "HOME_INVALID", directory))
    const seed = await readHexSecret(join(directory, "keys", "member.key"))
    const identity = memberIdentity(seed)
    if (identity.memberId !== file.memberId)
      throw new GridError("HOME_INVALID", `keys/member.key in ${directory} belongs to another member; restore the file from a backup`)
    return new Home(directory, file, identity)
  }

  /**
   * Writes a new home; `member.json` comes last.
   * @throws {GridError} HOME_EXISTS
   */
  static async create(directory: string, contents: HomeContents): Promise<Home> {
    await requireVacant(directory)
    const keys = keysDirectory(directory)
    await mkdir(keys, { recursive: true, mode: 0o700 })
    const identity = memberIdentity(contents.seed)
    await writeHexSecret(join(keys, "member.key"), contents.seed)
    await writeFileDurably(join(keys, "secrets.json"), `${JSON.stringify(contents.secrets)}\n`, { mode: 0o600 })
    await writeFileDurably(join(directory, "certificate.der"), contents.certificateDer)
    await writeFileDurably(join(directory, "catalog.tar"), contents.catalogBytes)
    const file: Static<typeof MemberFile> = {
      format: "imagegrid-home-1",
      site: contents.site,
      role: contents.role,
      memberId: identity.memberId,
      rootDigest: contents.rootDigest,
      listen: {
        ...(contents.listen.api === null ? {} : { api: formatAddress(contents.listen.api) }),
        swarm: formatAddress(contents.listen.swarm),
        dht: formatAddress(contents.listen.dht),
      },
      firstKnown: { api: contents.firstKnown.api.map(formatAddress), dht: contents.firstKnown.dht.map(formatAddress) },
      createdAtMs: contents.createdAtMs,
    }
    await writeFileDurably(join(directory, "member.json"), `${JSON.stringify(file, null, 2)}\n`)
    return Home.open(directory)
  }

  /** @throws {GridError} HOME_EXISTS unless the directory is missing, empty or holds nothing but an unfinished home. */
  static requireVacant(directory: string): Promise<void> {
    return requireVacant(directory)
  }

  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts)
  }

  /** Holds the home against other processes until released or the process ends. @throws {GridError} HOME_IN_USE */
  lock(): HomeLock {
    return lockHome(this.directory)
  }

  async certificate(): Promise<MemberCertificate> {
    const certificate = readCertificate(await readBounded(this.path("certificate.der"), 16 * 1024))
    if (certificate.kind !== "member" || certificate.memberId !== this.memberId)
      throw new GridError("HOME_INVALID", `certificate.der in ${this.directory} is not this member's; join again with a new invite`)
    return certificate
  }

  async saveCertificate(der: Buffer): Promise<void> {
    await writeFileDurably(this.path("certificate.der"), der)
  }

  async secrets(): Promise<MemberSecrets> {
    const bytes = await readSecretFile(this.path("keys", "secrets.json"), SECRET_FILE_BYTES_MAX)
    return readMemberSecrets(parseJson(bytes, SECRET_FILE_BYTES_MAX, "KEY_INVALID", "keys/secrets.json"))
  }

  /**
   * Changes the secrets with no other process's change between; durable when it resolves, to what is kept then.
   * @throws {GridError} HOME_IN_USE when another process holds them for seconds
   */
  async updateSecrets(change: (held: MemberSecrets) => MemberSecrets): Promise<MemberSecrets> {
    using _ = await lockKeys(this.directory)
    const secrets = change(await this.secrets())
    await writeFileDurably(this.path("keys", "secrets.json"), `${JSON.stringify(secrets)}\n`, { mode: 0o600 })
    return secrets
  }

  /** The online keys of a server. @throws {GridError} KEY_MISSING */
  async onlineKeys(): Promise<OnlineSecrets> {
    const { online } = await this.secrets()
    if (online === undefined) throw new GridError("KEY_MISSING", `${this.directory} holds no online keys of its site; use a server's home`)
    return online
  }

  catalogBytes(maxBytes: number): Promise<Buffer> {
    return readBounded(this.path("catalog.tar"), maxBytes)
  }

  async saveCatalog(bytes: Buffer): Promise<void> {
    await writeFileDurably(this.path("catalog.tar"), bytes)
  }

  /** Of another site, as it was last kept; null when none is. */
  async federatedCatalog(site: string, maxBytes: number): Promise<Buffer | null> {
    try {
      return await readBounded(this.path(FEDERATED, `${site}.tar`), maxBytes)
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return null
      throw error
    }
  }

  async saveFederatedCatalog(site: string, bytes: Buffer): Promise<void> {
    await mkdir(this.path(FEDERATED), { recursive: true })
    await writeFileDurably(this.path(FEDERATED, `${site}.tar`), bytes)
  }

  async removeFederatedCatalog(site: string): Promise<void> {
    await rm(this.path(FEDERATED, `${site}.tar`), { force: true })
  }

  /** Reads a JSON state file of this home; null when there is none yet. */
  async readState(name: string, maxBytes: number): Promise<unknown> {
    try {
      return parseJson(await readBounded(this.path(name), maxBytes), maxBytes, "STATE_DAMAGED", this.path(name))
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return null
      throw error
    }
  }

  /** Names of the state files in a directory of this home. */
  async listState(directory: string): Promise<string[]> {
    try {
      return (await readdir(this.path(directory))).filter((name) => name.endsWith(".json")).sort()
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") return []
      throw error
    }
  }

  async saveState(name: string, value: unknown): Promise<void> {
    await mkdir(dirname(this.path(name)), { recursive: true })
    await writeFileDurably(this.path(name), `${JSON.stringify(value)}\n`)
  }
}

/** @throws {GridError} HOME_EXISTS unless the directory is missing, empty or holds nothing but an unfinished home. */
async function requireVacant(directory: string): Promise<void> {
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return
    throw new GridError("HOME_INVALID", `${directory} can't be read (${systemErrorCode(error)}); name a directory that can`, {
      cause: error,
    })
  }
  if (names.includes("member.json")) throw new GridError("HOME_EXISTS", `${directory} is a member's home; name another directory`)
  const unfinished = new Set(["keys", "certificate.der", "catalog.tar"])
  const foreign = names.find((name) => !unfinished.has(name) && !isTemporaryName(name))
  if (foreign !== undefined)
    throw new GridError("HOME_EXISTS", `${directory} holds other files (${JSON.stringify(foreign)}); name an empty or new directory`)
}

async function readJson(path: string, maxBytes: number, code: "HOME_INVALID", directory: string): Promise<unknown> {
  try {
    return parseJson(await readBounded(path, maxBytes), maxBytes, code, path)
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause
    throw new GridError(code, `${directory} holds no member.json; make one with 'imagegrid site create' or 'imagegrid join'`, { cause })
  }
}

async function readHexSecret(path: string): Promise<Buffer> {
  const text = (await readSecretFile(path, 1024)).toString("utf8").trim()
  if (!/^[0-9a-f]{64}$/.test(text)) throw new GridError("KEY_INVALID", `${path} is not 64 hex digits; restore it from a backup`)
  return Buffer.from(text, "hex")
}

/**
 * The seed of a member in the making: kept before anything is asked of a server, so that a join that was cut off goes on as
 * the same member, with the same use of its invite.
 */
export async function seedInTheMaking(directory: string, random: (byteCount: number) => Uint8Array): Promise<Buffer> {
  await requireVacant(directory)
  const file = join(directory, "keys", "member.key")
  try {
    return await readHexSecret(file)
  } catch (error) {
    if (systemErrorCode(error) !== "ENOENT") throw error
  }
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  await writeHexSecret(file, random(32))
  return readHexSecret(file)
}

async function writeHexSecret(path: string, secret: Uint8Array): Promise<void> {
  await writeFileDurably(path, `${Buffer.from(secret).toString("hex")}\n`, { mode: 0o600 })
}
