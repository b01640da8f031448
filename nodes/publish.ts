/**
 * A publisher makes a new version of an image: captured, sealed and moved into the server's store first, signed last, so that a
 * crash at any moment leaves either no version or a whole one.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { join } from "node:path"
import { newImageIdentity } from "#crypto/age.ts"
import { readCertificate } from "#crypto/certificate.ts"
import { sealGrant } from "#crypto/grant.ts"
import type { Catalog } from "#trust/catalog.ts"
import { requirementsOf, isComplete } from "#trust/change.ts"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { publisherFor, signPublication } from "#trust/publication.ts"
import { outlived } from "#trust/retention.ts"
import { requireNoTag } from "#trust/tags.ts"
import { address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { readManifest, refOf, type Grants, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageRef } from "#core/identifiers.ts"
import type { FullPolicy } from "#core/versions.ts"
import { pathMatcher } from "#image/path-patterns.ts"
import { FederatedCatalogs } from "#member/federated-catalogs.ts"
import type { Home } from "#member/home.ts"
import { requireOwnName } from "#member/image-sources.ts"
import type { Log } from "#member/log.ts"
import { Member } from "#member/member.ts"
import { lockHome } from "#store/home-lock.ts"
import { LayerStore } from "#store/layer-store.ts"
import { noAttachments, sealAttachments, type AttachmentSources } from "./attachments.ts"
import { granteeOf } from "./grantees.ts"
import type { KeyRing } from "./key-ring.ts"
import { unlessOvertaken, type MadeChange } from "./make-change.ts"
import { currentCatalog, submitChange } from "./own-server.ts"
import { auditLayer } from "./proof.ts"
import { openParent, sealVersion, type SealedVersion } from "./seal-version.ts"

const COPIES_POLL_MS = 500

export type PublishParts = {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  readonly random: (byteCount: number) => Uint8Array
  readonly keys: KeyRing
  readonly signal: AbortSignal
  readonly onProgress?: (progress: { readonly phase: "sealing"; readonly contentBytes: number; readonly sealedBytes: number }) => void
}
export type PublishOptions = {
  readonly directory: string
  readonly ref: ImageRef
  /** Those that may open it, one of the own site at least: `GROUP`, or `SITE/GROUP`. */
  readonly groups: readonly string[]
  readonly pieceBytes?: number
  /** An earlier version of the image, from which a delta is made. */
  readonly from?: ImageRef
  readonly full?: FullPolicy
  readonly reread?: boolean
  /** Whether copies of the files are kept, for the patches of the next version. */
  readonly keepFiles?: boolean
  readonly attachments?: AttachmentSources
  /** Whether overrides, boot payload, scripts and excluded paths are those of `from`, where they are not given anew. */
  readonly inherit?: boolean
  /** Paths that clients' updates never touch. */
  readonly exclude?: readonly string[]
}

export type Published = MadeChange & {
  readonly manifest: Manifest
  /** Versions that go out of use with it, by the site's rules. */
  readonly retired: readonly string[]
} & Pick<SealedVersion, "read" | "delta">

/**
 * Where the publisher's threshold asks for more signatures than the keys at hand give, the layers are in the store, and the change waits for
 * the other holders.
 * @throws {GridError} IMAGE_EXISTS, TAG_EXISTS, GROUP_UNKNOWN, KEY_MISSING, KEY_LOCKED, SOURCE_MISSING, CAPTURE_FAILED, DISK_FULL
 */
export async function publishImage(parts: PublishParts, options: PublishOptions): Promise<Published> {
  const { home, clock, signal } = parts
  const { ref } = options
  await mkdir(home.path("publishing"), { recursive: true, mode: 0o700 })
  using _ = lockHome(home.path("publishing"))
  const before = await currentCatalog(parts)
  if (before.images.has(formatImageRef(ref))) throw new GridError("IMAGE_EXISTS", `${formatImageRef(ref)}; choose another version`)
  requireNoTag(before, ref)
  // Asked before anything is sealed: who may not sign this name learns it now, and whoever must type a passphrase types it now.
  const seedsFor = async (files: CatalogFiles) => parts.keys.seeds(publisherFor(files, parts.keys.keyIds, ref).keyids)
  await seedsFor(before.files)
  const federated = await FederatedCatalogs.open({ ...parts, own: () => before })
  requireOwnName({ own: before, federated }, ref.name)
  for (const group of options.groups) await granteeOf(parts, before, group)
  for (const { appliesTo } of options.attachments?.overrides ?? [])
    if ("group" in appliesTo) await granteeOf(parts, before, appliesTo.group)
  pathMatcher(options.exclude ?? [])

  const { identity, recipient } = await newImageIdentity()
  const workDirectory = await mkdtemp(join(home.path("publishing"), "work-"))
  try {
    await using layers = await LayerStore.open(home.path("layers"))
    const sealing = { home, layers, random: parts.random, signal, onProgress: parts.onProgress }
    const parent = options.from === undefined ? null : await openParent(sealing, before, options.from)
    if (parent !== null) requireGranted(before, parent.manifest, options.groups)
    const { directory, pieceBytes = null, full = "auto", reread = false } = options
    const version = await sealVersion(sealing, { directory, ref, workDirectory, identity, recipient, pieceBytes, parent, full, reread })
    const attachments = await sealAttachments(sealing, options.attachments ?? noAttachments, {
      workDirectory,
      recipient,
      entries: version.entries,
      parent: options.inherit === false ? null : parent,
    })
    for (const layer of [...version.sealed, ...attachments.sealed]) await layers.adopt(layer.torrent, layer.path)
    const manifest: Manifest = {
      format: "imagegrid-manifest-1",
      site: home.site,
      name: ref.name,
      version: ref.version,
      publishedAtMs: clock.nowMs(),
      recipient,
      ...version.described,
      layers: [...version.described.layers, ...attachments.layers],
      exclude: [...new Set([...(options.inherit === false ? [] : (parent?.manifest.exclude ?? [])), ...(options.exclude ?? [])])],
    }
    readManifest(manifest)
    const made = await unlessOvertaken(() => sign(parts, { manifest, identity, groups: options.groups, seedsFor }))
    await version.remember(options.keepFiles ?? true)
    return { ...made, read: version.read, delta: version.delta }
  } finally {
    await rm(workDirectory, { recursive: true, force: true })
  }
}

/** Who may open a version may open all that it was made from: nobody is to get that without having been granted it. @throws {GridError} GRANT_MISSING */
function requireGranted(catalog: Catalog, parent: Manifest, groups: readonly string[]): void {
  const name = formatImageRef(refOf(parent))
  const granted = new Set(catalog.grants.get(name)?.grants.map(({ group }) => group))
  const others = groups.filter((group) => !granted.has(group))
  if (others.length > 0)
    throw new GridError(
      "GRANT_MISSING",
      `${others.join(", ")} may not open ${name}, and who opens what is made from it can; grant it first ('imagegrid grant ${name} --group ${others[0] ?? ""}'), or publish without --from`,
    )
}

type Signing = {
  readonly manifest: Manifest
  /** Of the image. */
  readonly identity: string
  readonly groups: readonly string[]
  readonly seedsFor: (files: CatalogFiles) => Promise<readonly Uint8Array[]>
}

/** Signs the version into the catalog of now. */
async function sign(parts: PublishParts, { manifest, identity, groups, seedsFor }: Signing): Promise<Omit<Published, "read" | "delta">> {
  const { home, clock, random } = parts
  const ref = refOf(manifest)
  // Sealing takes a while: a group may have a newer key by now.
  const current = await currentCatalog(parts)
  const { files } = current
  const grantees = await Promise.all(groups.map((name) => granteeOf(parts, current, name)))
  const grants: Grants = {
    format: "imagegrid-grants-1",
    site: home.site,
    name: ref.name,
    version: ref.version,
    grants: grantees.map((group) => sealGrant({ site: home.site, ref, group, imageIdentity: identity, random })),
    retiredAtMs: null,
    pinned: false,
  }
  const nowMs = clock.nowMs()
  const { name: role } = publisherFor(files, parts.keys.keyIds, ref)
  const retired = outlived(current, ref.name).filter((other) => current.publishers.get(formatImageRef(refOf(other))) === role)
  const alsoGrants = retired.map((other) => ({ ...other, retiredAtMs: nowMs }))
  const change = signPublication({ files, seeds: await seedsFor(files), manifest, grants, alsoGrants, nowMs })
  const requirements = requirementsOf(files, change)
  const applied = isComplete(requirements)
  if (applied) await submitChange(parts, change)
  return { applied, change, files, requirements, manifest, retired: retired.map((other) => formatImageRef(refOf(other))) }
}

/** A server that has shown that it holds an image (proof.ts). */
export type Holder = { readonly memberId: string; readonly site: string }

/** Resolves once `copies` servers, of this site or another, this home's own among them, have shown that they hold all layers. */
export async function waitForCopies(
  parts: PublishParts,
  manifest: Manifest,
  copies: number,
  onCount: (count: number) => void,
): Promise<Holder[]> {
  const { home, signal } = parts
  const member = await Member.start({ home, clock: parts.clock, log: parts.log }, { network: "api-only" })
  try {
    await using layers = await LayerStore.open(home.path("layers"))
    const holders = new Map<string, Holder>()
    for (;;) {
      const waiting = member.directory.recordsOfAllSites().filter(({ memberId }) => !holders.has(memberId))
      await Promise.allSettled(
        waiting.map(async (record) => {
          const { site } = readCertificate(Buffer.from(record.certificate, "base64"))
          const server = { api: address(record.api), site }
          for (const { infohash } of manifest.layers) if ((await auditLayer(member, layers, server, infohash)) !== "passed") return
          holders.set(record.memberId, { memberId: record.memberId, site })
        }),
      )
      onCount(holders.size)
      if (holders.size >= copies) return [...holders.values()].sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
      if (signal.aborted)
        throw new GridError("INTERRUPTED", `${holders.size} of ${copies} servers hold the image; it is published, and copying goes on`)
      await new Promise((resolve) => setTimeout(resolve, COPIES_POLL_MS))
    }
  } finally {
    await member.close()
  }
}
