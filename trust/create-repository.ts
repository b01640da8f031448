/** A new site's repository: what its administrator signs once. */
import { readSiteDocument, targetPath, type SiteDocument } from "#core/documents.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { documentBytes } from "./files.ts"
import { defaultLifetimes, type Lifetimes } from "./lifetimes.ts"
import { keyIdOfSeed, signMetadata, SPEC_VERSION, targetFile, tufKeyOf, tufTime, type SignedBody } from "./metadata.ts"
import { pathsOfPattern } from "./name-patterns.ts"
import { signOnline } from "./online-roles.ts"

/** The one publisher role of a new site. */
export const FIRST_PUBLISHER = "publisher"

/** Ed25519 seeds, 32 bytes each. */
export type RepositoryKeys = {
  readonly root: readonly Uint8Array[]
  readonly targets: Uint8Array
  readonly publisher: Uint8Array
  readonly snapshot: Uint8Array
  readonly timestamp: Uint8Array
}

export type NewRepository = {
  readonly document: SiteDocument
  readonly keys: RepositoryKeys
  /** How many of the root keys must sign; one if not given. */
  readonly rootThreshold?: number
  readonly nowMs: number
  readonly lifetimes?: Partial<Lifetimes>
}

/** A new site's repository without images. @throws {GridError} CATALOG_INVALID when the site document is out of form */
export function createRepository({ document, keys, rootThreshold = 1, nowMs, lifetimes = {} }: NewRepository): CatalogFiles {
  const life = { ...defaultLifetimes, ...lifetimes }
  const siteBytes = documentBytes(readSiteDocument(document))
  const expires = (role: keyof Lifetimes): string => tufTime(nowMs + life[role])
  const root: SignedBody<"root"> = {
    _type: "root",
    spec_version: SPEC_VERSION,
    version: 1,
    expires: expires("root"),
    consistent_snapshot: false,
    keys: keysOf(...keys.root, keys.targets, keys.snapshot, keys.timestamp),
    roles: {
      root: { ...signedBy(...keys.root), threshold: rootThreshold },
      targets: signedBy(keys.targets),
      snapshot: signedBy(keys.snapshot),
      timestamp: signedBy(keys.timestamp),
    },
  }
  const targets: SignedBody<"targets"> = {
    _type: "targets",
    spec_version: SPEC_VERSION,
    version: 1,
    expires: expires("targets"),
    targets: { [targetPath.site]: targetFile(siteBytes) },
    delegations: {
      keys: keysOf(keys.publisher),
      roles: [{ name: FIRST_PUBLISHER, ...signedBy(keys.publisher), terminating: true, paths: pathsOfPattern("*") }],
    },
  }
  const publisher: SignedBody<"publisher"> = {
    _type: "targets",
    spec_version: SPEC_VERSION,
    version: 1,
    expires: expires("publisher"),
    targets: {},
  }
  const files = new Map([
    [ROOT_PATH(1), signMetadata<"root">(root, keys.root)],
    [METADATA_PATH("targets"), signMetadata<"targets">(targets, [keys.targets])],
    [METADATA_PATH(FIRST_PUBLISHER), signMetadata<"publisher">(publisher, [keys.publisher])],
    [TARGET_PREFIX + targetPath.site, siteBytes],
  ])
  const online = { snapshotSeed: keys.snapshot, timestampSeed: keys.timestamp }
  signOnline(files, online, {
    snapshot: { version: 1, expires: expires("snapshot"), former: {} },
    timestamp: { version: 1, expires: expires("timestamp") },
  })
  return files
}

function keysOf(...seeds: readonly Uint8Array[]) {
  return Object.fromEntries(seeds.map((seed) => [keyIdOfSeed(seed), tufKeyOf(seed)]))
}

function signedBy(...seeds: readonly Uint8Array[]) {
  return { keyids: seeds.map(keyIdOfSeed), threshold: 1 }
}
