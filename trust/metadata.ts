/**
 * The signed files of a site's TUF repository (The Update Framework 1.0.31) in the narrow form that we write and take. The
 * libraries take more; each further freedom was a way around a check: a key under two ids, a file without a digest, a pattern
 * that is a program. What `readMetadata` returns has none of them. Signatures are catalog.ts's question.
 */
import { createHash } from "node:crypto"
import { Type } from "typebox"
import { Digest, Hex32, Label } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { parseJson, reader } from "#core/schema.ts"
import { sign, signingKeyFromSeed, verify } from "#crypto/identity.ts"

/** Largest metadata file that is taken: some 50,000 images. */
export const METADATA_BYTES_MAX = 16 * 1024 * 1024

/** The version of the specification that is written. */
export const SPEC_VERSION = "1.0.31"
const TOP_ROLES: ReadonlySet<string> = new Set(["root", "targets", "snapshot", "timestamp"])

const strict = { additionalProperties: false } as const
const Version = Type.Integer({ minimum: 1, maximum: 2_147_483_647 })
const Length = Type.Integer({ minimum: 1, maximum: METADATA_BYTES_MAX })
const Hashes = Type.Object({ sha256: Digest }, strict)
const KeyShape = Type.Object(
  { keytype: Type.Literal("ed25519"), scheme: Type.Literal("ed25519"), keyval: Type.Object({ public: Hex32 }, strict) },
  strict,
)
const roleFields = { keyids: Type.Array(Hex32, { minItems: 1, maxItems: 64 }), threshold: Type.Integer({ minimum: 1, maximum: 64 }) }
const TopRole = Type.Object(roleFields, strict)
// `*` and literal characters alone: the library's matcher also knows `{}`, `!` and `[]`.
const Pattern = Type.String({ pattern: "^[a-z0-9._/*-]+$", maxLength: 300 })
const TargetPath = "^[a-z0-9][a-z0-9._/-]{0,299}$"

const common = {
  spec_version: Type.String({ pattern: "^1\\.0\\.[0-9]{1,3}$" }),
  version: Version,
  expires: Type.String({ pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$" }),
}
const record = <Value extends Parameters<typeof Type.Record>[1]>(pattern: string, value: Value) =>
  Type.Record(Type.String({ pattern }), value, strict)

const RootBody = Type.Object(
  {
    _type: Type.Literal("root"),
    ...common,
    consistent_snapshot: Type.Literal(false),
    keys: record("^[0-9a-f]{64}$", KeyShape),
    roles: Type.Object({ root: TopRole, targets: TopRole, snapshot: TopRole, timestamp: TopRole }, strict),
  },
  strict,
)
const ListedShape = Type.Object({ version: Version, length: Length, hashes: Hashes }, strict)
const TimestampBody = Type.Object(
  { _type: Type.Literal("timestamp"), ...common, meta: Type.Object({ "snapshot.json": ListedShape }, strict) },
  strict,
)
const SnapshotBody = Type.Object(
  { _type: Type.Literal("snapshot"), ...common, meta: record("^[a-z0-9][a-z0-9-]{0,62}\\.json$", ListedShape) },
  strict,
)
const TargetRecord = record(TargetPath, Type.Object({ length: Length, hashes: Hashes }, strict))
const TargetsBody = Type.Object(
  {
    _type: Type.Literal("targets"),
    ...common,
    targets: TargetRecord,
    delegations: Type.Object(
      {
        keys: record("^[0-9a-f]{64}$", KeyShape),
        roles: Type.Array(
          Type.Object(
            { ...roleFields, name: Label, terminating: Type.Boolean(), paths: Type.Array(Pattern, { minItems: 1, maxItems: 384 }) },
            strict,
          ),
          { maxItems: 256 },
        ),
      },
      strict,
    ),
  },
  strict,
)
/** A publisher's file: it lists targets and delegates nothing further. */
const PublisherBody = Type.Object({ _type: Type.Literal("targets"), ...common, targets: TargetRecord }, strict)

const signed = <Body extends Parameters<typeof Type.Object>[0][string]>(body: Body) =>
  Type.Object(
    {
      // None in a draft; no threshold is below one.
      signatures: Type.Array(Type.Object({ keyid: Hex32, sig: Type.String({ pattern: "^[0-9a-f]{128}$" }) }, strict), { maxItems: 64 }),
      signed: body,
    },
    strict,
  )

const readers = {
  root: reader(signed(RootBody), "CATALOG_INVALID", "root metadata"),
  timestamp: reader(signed(TimestampBody), "CATALOG_INVALID", "timestamp metadata"),
  snapshot: reader(signed(SnapshotBody), "CATALOG_INVALID", "snapshot metadata"),
  targets: reader(signed(TargetsBody), "CATALOG_INVALID", "targets metadata"),
  publisher: reader(signed(PublisherBody), "CATALOG_INVALID", "publisher metadata"),
}
type Readers = typeof readers
export type SignedBody<Kind extends keyof Readers> = ReturnType<Readers[Kind]>["signed"]

/**
 * The signed part of one metadata file, in form. Its signatures are NOT checked here.
 * @throws {GridError} CATALOG_INVALID
 */
export function readMetadata<Kind extends keyof Readers>(kind: Kind, bytes: Uint8Array, what: string = kind): SignedBody<Kind> {
  return readSigned(kind, bytes, what).signed
}

/** As `readMetadata`, with the signatures that are still to be checked. @throws {GridError} CATALOG_INVALID */
export function readSigned<Kind extends keyof Readers>(kind: Kind, bytes: Uint8Array, what: string): ReturnType<Readers[Kind]> {
  const file = readers[kind](parseJson(bytes, METADATA_BYTES_MAX, "CATALOG_INVALID", what))
  const body: SignedBody<keyof Readers> = file.signed
  if (Number.isNaN(Date.parse(body.expires))) refuse(`${what} expires at no date: ${body.expires}`)
  if ("roles" in body) requireOwnIds(body.keys, Object.values(body.roles), what)
  if ("delegations" in body) {
    const { keys, roles } = (body as SignedBody<"targets">).delegations
    requireOwnIds(keys, roles, what)
    const names = roles.map((role) => role.name)
    if (new Set(names).size !== names.length) refuse(`${what} delegates to one role twice`)
    if (names.some((name) => TOP_ROLES.has(name))) refuse(`${what} delegates to a top-level role`)
  }
  return file as ReturnType<Readers[Kind]>
}

/** A key's id is the digest of the key, so that one key can't sign twice under two ids and reach a threshold alone. */
export function keyIdOf(publicKeyHex: string): string {
  return createHash("sha256")
    .update(canonicalJson(publicTufKey(publicKeyHex)))
    .digest("hex")
}

export function keyIdOfSeed(seed: Uint8Array): string {
  return keyIdOf(signingKeyFromSeed(seed).publicKeyHex)
}

export type TufKey = { readonly keytype: "ed25519"; readonly scheme: "ed25519"; readonly keyval: { readonly public: string } }

export function tufKeyOf(seed: Uint8Array): TufKey {
  return publicTufKey(signingKeyFromSeed(seed).publicKeyHex)
}

export function publicTufKey(publicKeyHex: string): TufKey {
  return { keytype: "ed25519", scheme: "ed25519", keyval: { public: publicKeyHex } }
}

/**
 * A metadata file's bytes, signed with each of the seeds; a draft without any. The same input gives the same bytes: Ed25519 needs
 * no randomness.
 */
export function signMetadata<Kind extends keyof Readers>(body: SignedBody<Kind>, seeds: readonly Uint8Array[]): Buffer {
  return metadataBytes(body, signaturesBy(seeds, body))
}

/** The same file with these signatures added; one that a key has given already is replaced by its new one. @throws {GridError} CATALOG_INVALID */
export function addSignatures(kind: keyof Readers, bytes: Uint8Array, seeds: readonly Uint8Array[], what: string): Buffer {
  const { signatures, signed: body } = readSigned(kind, bytes, what)
  const added = signaturesBy(seeds, body)
  const kept = signatures.filter((signature) => !added.some((one) => one.keyid === signature.keyid))
  return metadataBytes(body, [...kept, ...added])
}

type Signature = { keyid: string; sig: string }

function signaturesBy(seeds: readonly Uint8Array[], body: unknown): Signature[] {
  const message = canonicalJson(body)
  return seeds.map((seed) => {
    const key = signingKeyFromSeed(seed)
    return { keyid: keyIdOf(key.publicKeyHex), sig: sign(key, message).toString("hex") }
  })
}

function metadataBytes(body: unknown, signatures: readonly Signature[]): Buffer {
  return Buffer.from(`${JSON.stringify({ signatures, signed: body })}\n`)
}

/** The keys among these that have validly signed the file, each once however often it did. */
export function validSigners(
  { signatures, signed: body }: { readonly signatures: readonly Signature[]; readonly signed: unknown },
  keyIds: readonly string[],
  keys: Readonly<Record<string, { readonly keyval: { readonly public: string } }>>,
): string[] {
  const message = canonicalJson(body)
  return keyIds.filter((id) => {
    const key = keys[id]
    const of = signatures.find((signature) => signature.keyid === id)
    return key !== undefined && of !== undefined && verify(key.keyval.public, message, Buffer.from(of.sig, "hex"))
  })
}

/**
 * The bytes that signatures are over: canonical JSON, keys sorted, no spaces. Its rules for odd strings and numbers never matter
 * here, since bodies in form hold whole numbers and plain ASCII.
 */
export function canonicalJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value, sortedKeys))
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}

export type Listed = { version: number; length: number; hashes: { sha256: Sha256 } }

/** What a snapshot or timestamp says of another metadata file. */
export function listedFile(version: number, bytes: Uint8Array): Listed {
  return { version, ...targetFile(bytes) }
}

/** What a targets role says of a document. */
export function targetFile(bytes: Uint8Array): { length: number; hashes: { sha256: Sha256 } } {
  return { length: bytes.length, hashes: { sha256: digestOf(bytes) } }
}

export function digestOf(bytes: Uint8Array): Sha256 {
  return createHash("sha256").update(bytes).digest("hex") as Sha256
}

/** TUF's form of a time: whole seconds, UTC. */
export function tufTime(atMs: number): string {
  return `${new Date(atMs).toISOString().slice(0, 19)}Z`
}

function requireOwnIds(
  keys: Readonly<Record<string, { readonly keyval: { readonly public: string } }>>,
  roles: readonly { readonly keyids: readonly string[]; readonly threshold: number }[],
  what: string,
): void {
  for (const [id, key] of Object.entries(keys))
    if (keyIdOf(key.keyval.public) !== id) refuse(`${what} lists a key under an id that is not its digest: ${id}`)
  for (const { keyids, threshold } of roles) {
    if (new Set(keyids).size !== keyids.length) refuse(`${what} names one key twice in a role`)
    if (keyids.some((id) => !Object.hasOwn(keys, id))) refuse(`${what} names a key that it does not list`)
    if (threshold > keyids.length) refuse(`${what} asks for ${threshold} signatures of ${keyids.length} keys`)
  }
}

function refuse(detail: string): never {
  throw new GridError("CATALOG_INVALID", detail)
}
