/** A site's repository in the small for tests, and the tools of an attacker who holds some of its keys. */
import { createHash } from "node:crypto"
import type { Grants, Manifest, SiteDocument, Tags } from "#core/documents.ts"
import { GridError, type RefusalCode } from "#core/errors.ts"
import { imageRef } from "#core/identifiers.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, rootDigest, type Catalog } from "#trust/catalog.ts"
import { listedFile, readMetadata, signMetadata, targetFile, type SignedBody } from "#trust/metadata.ts"
import { applyChange } from "#trust/change.ts"
import { createRepository, type RepositoryKeys } from "#trust/create-repository.ts"
import { type OnlineSeeds } from "#trust/online-roles.ts"
import { signPublication } from "#trust/publication.ts"

export const startMs = Date.UTC(2026, 10, 22, 12)
export const DAY_MS = 24 * 3_600_000

export const seedOf = (word: string): Buffer => createHash("sha256").update(word).digest()
/** One seed a role. */
export type SiteSeeds = Omit<RepositoryKeys, "root"> & { readonly root: Uint8Array }
export const keysOf = (site: string): SiteSeeds => ({
  root: seedOf(`${site} root`),
  targets: seedOf(`${site} targets`),
  publisher: seedOf(`${site} publisher`),
  snapshot: seedOf(`${site} snapshot`),
  timestamp: seedOf(`${site} timestamp`),
})
export const repositoryKeys = (seeds: SiteSeeds): RepositoryKeys => ({ ...seeds, root: [seeds.root] })
export const keys = keysOf("lab")
export const online: OnlineSeeds = { snapshotSeed: keys.snapshot, timestampSeed: keys.timestamp }

export const siteDocument = (site = "lab"): SiteDocument => ({
  format: "imagegrid-site-1",
  site,
  authorities: ["AAAA"],
  pointerKey: "ab".repeat(32),
  groups: [{ name: "default", generation: 1, publicKey: "cd".repeat(32), added: [], removed: [] }],
  networkKeys: ["ef".repeat(32)],
  revoked: [],
  federation: [],
  placement: [],
  weights: [],
  retention: [],
})

export function manifestOf(image: string, changed: Partial<Manifest> = {}): Manifest {
  const layer = { infohash: createHash("sha1").update(image).digest("hex"), pieceBytes: 65_536, sealedBytes: 10, contentBytes: 9 }
  const digests = { sealedSha256: seedOf(`${image} sealed`).toString("hex"), contentSha256: seedOf(image).toString("hex") }
  return {
    format: "imagegrid-manifest-1",
    site: "lab",
    ...imageRef(image),
    publishedAtMs: startMs,
    recipient: `age1${"q".repeat(58)}`,
    entryCount: 3,
    exclude: [],
    lineage: null,
    layers: [
      { kind: "full", ...layer, ...digests },
      { kind: "index", ...layer, ...digests },
    ] as Manifest["layers"],
    ...changed,
  }
}
export const grantsOf = (image: string, changed: Partial<Grants> = {}): Grants => ({
  format: "imagegrid-grants-1",
  site: "lab",
  ...imageRef(image),
  grants: [],
  retiredAtMs: null,
  pinned: false,
  ...changed,
})

/** @param versions by tag */
export const tagsOf = (name: string, versions: Readonly<Record<string, string>>, changed: Partial<Tags> = {}): Tags => ({
  format: "imagegrid-tags-1",
  site: "lab",
  name,
  tags: Object.entries(versions).map(([tag, version]) => ({ tag, version, movedAtMs: startMs })),
  ...changed,
})

export const newRepository = (): CatalogFiles => createRepository({ document: siteDocument(), keys: repositoryKeys(keys), nowMs: startMs })

export function publicationOf(files: CatalogFiles, image: string, nowMs = startMs): Map<string, Buffer> {
  return new Map(signPublication({ files, seeds: [keys.publisher], manifest: manifestOf(image), grants: grantsOf(image), nowMs }))
}
export function withImages(files: CatalogFiles, ...images: readonly string[]): CatalogFiles {
  let next = files
  for (const image of images) next = applyChange({ files: next, change: publicationOf(next, image), online: () => online, nowMs: startMs })
  return next
}
export const open = (files: CatalogFiles, nowMs = startMs): Catalog => openCatalog(files, { rootDigest: rootDigest(files) }, nowMs)

type Kind = Parameters<typeof readMetadata>[0]
const kindOf = (role: string): Kind => (["root", "timestamp", "snapshot", "targets"].includes(role) ? (role as Kind) : "publisher")

/** The signed part of a role's file, to be changed at will. */
export function bodyOf<Role extends Kind>(files: CatalogFiles, role: Role): SignedBody<Role> {
  const path = role === "root" ? ROOT_PATH(1) : METADATA_PATH(role)
  return structuredClone(readMetadata(role, files.get(path) ?? Buffer.alloc(0)))
}

/** What the attacker changes: bodies signed with whatever seeds are given, documents and whole files. */
export type Forgery = {
  /** By role: a body that is signed with the role's own key, unless `seeds` names others. */
  readonly bodies?: Readonly<Record<string, unknown>>
  readonly seeds?: Readonly<Record<string, readonly Uint8Array[]>>
  /** By target path. */
  readonly documents?: Readonly<Record<string, unknown>>
  readonly files?: Readonly<Record<string, Buffer | null>>
}

/**
 * Files in which everything was signed anew that follows from the forgery: targets, snapshot and timestamp list the new digests.
 * With the attacker's `seeds` for a role its signature is wrong; without, it is right and only the content is.
 */
export function forge(files: CatalogFiles, { bodies = {}, seeds = {}, documents = {}, files: raw = {} }: Forgery): CatalogFiles {
  const next = new Map(files)
  const seedsOf = (role: string): readonly Uint8Array[] => seeds[role] ?? [keys[role as keyof SiteSeeds]]
  const put = (role: string, body: unknown): void => {
    next.set(role === "root" ? ROOT_PATH(1) : METADATA_PATH(role), signMetadata(body as SignedBody<Kind>, seedsOf(role)))
  }
  for (const [path, document] of Object.entries(documents))
    next.set(TARGET_PREFIX + path, Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document)))
  for (const role of ["root", "publisher", "targets"])
    if (role in bodies || role in seeds) put(role, bodies[role] ?? bodyOf(files, kindOf(role)))
  const snapshot = (bodies["snapshot"] ?? bodyOf(files, "snapshot")) as SignedBody<"snapshot">
  if (!("snapshot" in bodies))
    for (const role of ["targets", "publisher"]) {
      const bytes = next.get(METADATA_PATH(role)) ?? Buffer.alloc(1)
      snapshot.meta[`${role}.json`] = listedFile(
        (JSON.parse(bytes.toString("utf8")) as { signed: { version: number } }).signed.version,
        bytes,
      )
    }
  put("snapshot", snapshot)
  const timestamp = (bodies["timestamp"] ?? bodyOf(files, "timestamp")) as SignedBody<"timestamp">
  if (!("timestamp" in bodies))
    timestamp.meta["snapshot.json"] = listedFile(snapshot.version, next.get(METADATA_PATH("snapshot")) ?? Buffer.alloc(1))
  put("timestamp", timestamp)
  for (const [path, bytes] of Object.entries(raw)) {
    if (bytes === null) next.delete(path)
    else next.set(path, bytes)
  }
  return next
}

export const listTarget = (document: unknown): SignedBody<"publisher">["targets"][string] =>
  targetFile(Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document)))

/** The files with one more root, signed by the seeds, in which `change` has changed the newest. */
export function rotateRoot(
  files: CatalogFiles,
  change: (root: SignedBody<"root">) => void,
  signers: readonly Uint8Array[] = [keys.root],
): CatalogFiles {
  let version = 1
  while (files.has(ROOT_PATH(version + 1))) version++
  const root = structuredClone(readMetadata("root", files.get(ROOT_PATH(version)) ?? Buffer.alloc(0)))
  root.version = version + 1
  change(root)
  return new Map([...files, [ROOT_PATH(version + 1), signMetadata<"root">(root, signers)]])
}

/** For assert.throws: a refusal with this code, whose message matches. */
export const refusedWith =
  (code: RefusalCode, message = /(?:)/) =>
  (error: unknown): boolean =>
    error instanceof GridError && error.code === code && message.test(error.message)
