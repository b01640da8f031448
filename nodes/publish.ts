/**
 * A publisher makes a new version of an image: captured, sealed and moved into the server's store first, signed last, so that a
 * crash at any moment leaves either no version or a whole one.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises"
import { join } from "node:path"
import { newImageIdentity } from "#crypto/age.ts"
import { sealGrant } from "#crypto/grant.ts"
import { sealImage, type SealedLayer } from "#image/seal-image.ts"
import { applyPublication, signPublication } from "#trust/repository.ts"
import { packCatalog, unpackCatalog, type CatalogFiles } from "#trust/catalog-file.ts"
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { address, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import type { Grants, Layer, Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type GroupName, type ImageRef } from "#core/identifiers.ts"
import { CATALOG_BYTES_MAX, routes } from "#core/wire.ts"
import { onlineSeeds } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"
import type { Log } from "#member/log.ts"
import { Member } from "#member/member.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { lockHome, type HomeLock } from "#store/home-lock.ts"
import { LayerStore } from "#store/layer-store.ts"
import { statusOf } from "./fellows.ts"
import { encodePublication } from "./publication.ts"

const COPIES_POLL_MS = 500

export type PublishParts = {
  readonly home: Home
  readonly clock: Clock
  readonly log: Log
  readonly random: (byteCount: number) => Uint8Array
  readonly signal: AbortSignal
  readonly onProgress?: (progress: { readonly phase: "sealing"; readonly contentBytes: number; readonly sealedBytes: number }) => void
}
export type PublishOptions = { readonly directory: string; readonly ref: ImageRef; readonly group: GroupName; readonly pieceBytes?: number }

/** @throws {GridError} IMAGE_EXISTS, GROUP_UNKNOWN, KEY_MISSING, SOURCE_MISSING, CAPTURE_FAILED, DISK_FULL */
export async function publishImage(parts: PublishParts, options: PublishOptions): Promise<Manifest> {
  const { home, clock, random, signal } = parts
  const { ref } = options
  const publisherSeed = await home.adminKey("publisher")
  await mkdir(home.path("publishing"), { recursive: true, mode: 0o700 })
  using _ = lockHome(home.path("publishing"))
  const before = await currentCatalog(parts)
  if (before.images.has(formatImageRef(ref))) throw new GridError("IMAGE_EXISTS", `${formatImageRef(ref)}; choose another version`)
  const group = before.site.groups.find((candidate) => candidate.name === options.group)
  if (group === undefined)
    throw new GridError("GROUP_UNKNOWN", `${options.group}; the site has ${before.site.groups.map((known) => known.name).join(", ")}`)

  const { identity, recipient } = await newImageIdentity()
  const workDirectory = await mkdtemp(join(home.path("publishing"), "work-"))
  try {
    const sealed = await sealImage({
      directory: options.directory,
      workDirectory,
      recipient,
      signal,
      ...(options.pieceBytes !== undefined && { pieceBytes: options.pieceBytes }),
      ...(parts.onProgress && { onProgress: parts.onProgress }),
    })
    const layers = await LayerStore.open(home.path("layers"))
    try {
      for (const layer of [sealed.full, sealed.index]) await layers.adopt(layer.torrent, layer.path)
    } finally {
      await layers.close()
    }
    const manifest: Manifest = {
      format: "imagegrid-manifest-1",
      site: home.site,
      name: ref.name,
      version: ref.version,
      publishedAtMs: clock.nowMs(),
      recipient,
      entryCount: sealed.entryCount,
      layers: [describe("full", sealed.full), describe("index", sealed.index)],
    }
    const grant = sealGrant({ site: home.site, ref, group: { ...group, name: options.group }, imageIdentity: identity, random })
    const grants: Grants = { format: "imagegrid-grants-1", site: home.site, name: ref.name, version: ref.version, grants: [grant] }
    const latest = await currentCatalog(parts)
    await submit(parts, signPublication({ files: latest.files, publisherSeed, manifest, grants, nowMs: clock.nowMs() }))
    return manifest
  } finally {
    await rm(workDirectory, { recursive: true, force: true })
  }
}

/** Resolves once `copies` servers, this home's own among them, say that they hold all layers; gives their member ids. */
export async function waitForCopies(
  parts: PublishParts,
  manifest: Manifest,
  copies: number,
  onCount: (count: number) => void,
): Promise<string[]> {
  const { home, signal } = parts
  const member = await Member.start({ home, clock: parts.clock, log: parts.log }, { network: "api-only" })
  try {
    for (;;) {
      const holders: string[] = []
      const servers: Address[] = [
        ...member.apiAddresses(),
        ...member.directory
          .records()
          .filter((record) => record.memberId === home.memberId)
          .map(ownApi),
      ]
      await Promise.allSettled(
        servers.map(async (server) => {
          const status = await statusOf(member, server, signal)
          const held = new Set(status.layers.map((layer) => layer.sealedSha256))
          if (manifest.layers.every((layer) => held.has(layer.sealedSha256))) holders.push(status.memberId)
        }),
      )
      const distinctHolders = [...new Set(holders)].sort()
      onCount(distinctHolders.length)
      if (distinctHolders.length >= copies) return distinctHolders
      if (signal.aborted)
        throw new GridError(
          "INTERRUPTED",
          `${distinctHolders.length} of ${copies} servers hold the image; it is published, and copying goes on`,
        )
      await new Promise((resolve) => setTimeout(resolve, COPIES_POLL_MS))
    }
  } finally {
    await member.close()
  }
}

/** The catalog of the running server of this home if one runs, else the one on disk. */
async function currentCatalog(parts: PublishParts): Promise<Catalog> {
  const { home, clock } = parts
  const stored = await storedCatalog(home, clock.nowMs())
  const held = tryLock(home)
  if (held !== null) {
    held.release()
    return stored.catalog
  }
  const bytes = await withOwnServer(parts, (member, own) => member.api.bytes(own, { path: routes.catalog, maxBytes: CATALOG_BYTES_MAX }))
  return openCatalog(await unpackCatalog(bytes), { trusted: stored.catalog.files }, clock.nowMs())
}

/** Hands the signed files to the running server of this home, or does its part where none runs. */
async function submit(parts: PublishParts, publication: CatalogFiles): Promise<void> {
  const { home, clock } = parts
  const held = tryLock(home)
  if (held === null) {
    await withOwnServer(parts, (member, own) =>
      member.api.bytes(own, { method: "POST", path: routes.publications, body: encodePublication(publication), timeoutMs: 60_000 }),
    )
    return
  }
  try {
    const { catalog } = await storedCatalog(home, clock.nowMs())
    const online = onlineSeeds(await home.onlineKeys())
    await home.saveCatalog(await packCatalog(applyPublication({ files: catalog.files, publication, online, nowMs: clock.nowMs() })))
  } finally {
    held.release()
  }
}

function tryLock(home: Home): HomeLock | null {
  try {
    return home.lock()
  } catch (error) {
    if (error instanceof GridError && error.code === "HOME_IN_USE") return null
    throw error
  }
}

async function withOwnServer<Answer>(parts: PublishParts, ask: (member: Member, own: Address) => Promise<Answer>): Promise<Answer> {
  const member = await Member.start({ home: parts.home, clock: parts.clock, log: parts.log }, { network: "api-only" })
  try {
    const own = member.directory.records().find((record) => record.memberId === parts.home.memberId)
    if (own === undefined)
      throw new GridError(
        "HOME_IN_USE",
        `another process uses ${parts.home.directory} and is no server that runs; wait for it, then try again`,
      )
    return await ask(member, ownApi(own))
  } finally {
    await member.close()
  }
}

function ownApi(record: { readonly api: string }): Address {
  return address(record.api)
}

function describe(kind: Layer["kind"], layer: SealedLayer): Layer {
  return {
    kind,
    infohash: layer.torrent.infohash,
    pieceBytes: layer.torrent.pieceBytes,
    sealedBytes: layer.sealedBytes,
    sealedSha256: layer.sealedSha256,
    contentBytes: layer.contentBytes,
    contentSha256: layer.contentSha256,
  }
}
