/** Makes a site from nothing: its keys, its authority, its signed repository, and the home of its first server. */
import { issueAuthority } from "#crypto/certificate.ts"
import { memberIdentity, sealingKeyFromSecret, signingKeyFromSeed } from "#crypto/identity.ts"
import { createRepository } from "#trust/repository.ts"
import { rootDigest } from "#trust/catalog.ts"
import { packCatalog } from "#trust/catalog-file.ts"
import type { Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import type { SiteDocument } from "#core/documents.ts"
import { groupName, type GroupName, type SiteName } from "#core/identifiers.ts"
import type { MemberSecrets } from "#core/wire.ts"
import { Home } from "#member/home.ts"
import { BACKDATE_MS, issueMemberCertificate } from "./issuer.ts"

const YEAR_MS = 365 * 24 * 3_600_000
/** An authority's certificate outlives many rotations of what it issues. */
const AUTHORITY_LIFE_MS = 10 * YEAR_MS

/** The group that members are in and images are granted to when no other is named. */
export const DEFAULT_GROUP = groupName("default")

export type CreateSiteParts = { readonly clock: Clock; readonly random: (byteCount: number) => Uint8Array }
export type CreateSiteOptions = {
  readonly directory: string
  readonly site: SiteName
  /** Besides the default one. */
  readonly groups: readonly GroupName[]
  readonly listen: { readonly api: Address; readonly swarm: Address; readonly dht: Address }
}

/** @throws {GridError} HOME_EXISTS */
export async function createSite(parts: CreateSiteParts, options: CreateSiteOptions): Promise<Home> {
  const nowMs = parts.clock.nowMs()
  const { site } = options
  const keys = {
    root: parts.random(32),
    targets: parts.random(32),
    publisher: parts.random(32),
    snapshot: parts.random(32),
    timestamp: parts.random(32),
    authority: parts.random(32),
    pointer: parts.random(32),
  }
  const groups = [...new Set([DEFAULT_GROUP, ...options.groups])].map((name) => ({ name, key: sealingKeyFromSecret(parts.random(32)) }))
  const authorityDer = await issueAuthority({
    site,
    seed: keys.authority,
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + AUTHORITY_LIFE_MS,
    serial: parts.random(16),
  })
  const document: SiteDocument = {
    format: "imagegrid-site-1",
    site,
    authorities: [authorityDer.toString("base64")],
    pointerKey: signingKeyFromSeed(keys.pointer).publicKeyHex,
    groups: groups.map(({ name, key }) => ({ name, generation: 1, publicKey: key.publicKeyHex })),
    revoked: [],
  }
  const files = createRepository({ document, keys, nowMs })
  const seed = parts.random(32)
  const identity = memberIdentity(seed)
  const secrets: MemberSecrets = {
    groups: groups.map(({ name, key }) => ({ name, generation: 1, secretKey: hex(key.secretKey) })),
    online: { authority: hex(keys.authority), snapshot: hex(keys.snapshot), timestamp: hex(keys.timestamp), pointer: hex(keys.pointer) },
  }
  const certificateDer = await issueMemberCertificate({
    authority: { seed: keys.authority, der: authorityDer },
    subject: {
      kind: "member",
      site,
      role: "server",
      memberId: identity.memberId,
      groups: [DEFAULT_GROUP],
      sealingKeyHex: identity.sealing.publicKeyHex,
    },
    signingKeyHex: identity.signing.publicKeyHex,
    nowMs,
    random: parts.random,
  })
  return Home.create(options.directory, {
    site,
    role: "server",
    rootDigest: rootDigest(files),
    listen: options.listen,
    firstKnown: { api: [], dht: [] },
    seed,
    networkKey: parts.random(32),
    certificateDer,
    secrets,
    catalogBytes: await packCatalog(files),
    createdAtMs: nowMs,
    adminKeys: { root: keys.root, targets: keys.targets, publisher: keys.publisher },
  })
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex")
}
