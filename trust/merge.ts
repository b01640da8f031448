/** One repository of two that servers of a site signed apart. */
import { GridError } from "#core/errors.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { rootDigest } from "./catalog.ts"
import { maySign } from "./delegation.ts"
import { countRoots, fileOf, newestRoot, publisherFileOf, siteDocumentOf } from "./files.ts"
import { defaultLifetimes } from "./lifetimes.ts"
import { digestOf, readMetadata, readSigned, tufTime, validSigners, type SignedBody } from "./metadata.ts"
import { onlineBodies, onlineKeysOf, signOnline, type OnlineBodies, type OnlineSeeds, type SnapshotMeta } from "./online-roles.ts"

export type CatalogMerge = {
  readonly mine: CatalogFiles
  /** Verified from the same first root. */
  readonly theirs: CatalogFiles
  /** Those that the newer root of the two names; null where this server does not hold them yet. */
  readonly online: (root: SignedBody<"root">) => OnlineSeeds | null
  readonly nowMs: number
}

/**
 * The longer chain of roots is taken, and of every other role the higher version that the merged roots and delegations still bear out:
 * what a replaced key or a removed publisher signed falls away. Where two such files of one version differ, the site document that revokes
 * more stands, and else the one with the greater digest. If one side has all of that it comes back as it is. Else a higher snapshot and timestamp are signed, and every server
 * that merges the same two gets the same bytes, so that servers agree at once instead of signing past each other for ever.
 *
 * Two changes of one role that two servers took under the same version can't both stay: only the role's own keys could sign their
 * union. The servers that had the one that is gone say so (change-events.ts, "displaced"), and its maker makes it again.
 * @throws {GridError} CATALOG_INVALID when the two are of different sites or roots; KEY_MISSING when a union is to be signed and the keys
 * are not here
 */
export function mergeCatalogs({ mine, theirs, online, nowMs }: CatalogMerge): CatalogFiles {
  if (rootDigest(mine) !== rootDigest(theirs))
    throw new GridError("CATALOG_INVALID", "the other catalog begins at another root: it is another site's")
  const sides = [mine, theirs]
  const merged = mergedRoots(mine, theirs)
  const root = newestRoot(merged)
  const take = (side: CatalogFiles, role: string, listed: Readonly<Record<string, unknown>>): void => {
    merged.set(METADATA_PATH(role), fileOf(side, METADATA_PATH(role)))
    for (const path of Object.keys(listed)) merged.set(TARGET_PREFIX + path, fileOf(side, TARGET_PREFIX + path))
  }
  const targetsSide = newerSide(sides, "targets", (side) => isSigned("targets", side, "targets", root.roles.targets, root.keys))
  const targets = readMetadata("targets", fileOf(targetsSide, METADATA_PATH("targets")))
  take(targetsSide, "targets", targets.targets)
  for (const role of targets.delegations.roles) {
    const side = newerSide(
      sides,
      role.name,
      (one) =>
        isSigned("publisher", one, role.name, role, targets.delegations.keys) &&
        maySign(role, Object.keys(publisherFileOf(one, role.name).targets)),
    )
    take(side, role.name, publisherFileOf(side, role.name).targets)
  }

  // What keys that the newer root replaced said of snapshot and timestamp counts no more.
  const current = sides.filter((side) => onlineKeysOf(newestRoot(side)) === onlineKeysOf(root))
  for (const side of current) if (covers(side, merged) && isNewest(side, current)) return side
  const seeds = online(root)
  if (seeds === null)
    throw new GridError("KEY_MISSING", "the site's online keys were replaced, and this server does not have the new ones yet")
  const bodies = current.map(onlineBodies)
  const snapshots = new Map(current.map((side) => [digestOf(fileOf(side, METADATA_PATH("snapshot"))), side]))
  const [kept] = snapshots.values()
  const keepsSnapshot = snapshots.size === 1 && kept !== undefined && listsAll(kept, merged)
  if (keepsSnapshot) merged.set(METADATA_PATH("snapshot"), fileOf(kept, METADATA_PATH("snapshot")))
  signOnline(merged, seeds, {
    ...(!keepsSnapshot && {
      snapshot: {
        version: Math.max(...bodies.map(({ snapshot }) => snapshot.version)) + 1,
        expires: latestExpiry(bodies, "snapshot", nowMs),
        former: bodies.map(({ snapshot }) => snapshot.meta).reduce(higherVersions, {}),
      },
    }),
    timestamp: {
      version: Math.max(...bodies.map(({ timestamp }) => timestamp.version)) + 1,
      expires: latestExpiry(bodies, "timestamp", nowMs),
    },
  })
  return merged
}

function mergedRoots(mine: CatalogFiles, theirs: CatalogFiles): Map<string, Buffer> {
  const merged = new Map<string, Buffer>()
  const longer = countRoots(mine) >= countRoots(theirs) ? mine : theirs
  const shorter = longer === mine ? theirs : mine
  for (let version = 1; version <= countRoots(longer); version++) {
    const bytes = fileOf(longer, ROOT_PATH(version))
    if (version <= countRoots(shorter) && !fileOf(shorter, ROOT_PATH(version)).equals(bytes))
      throw new GridError("CATALOG_INVALID", `${ROOT_PATH(version)} differs: one of the two was forged`)
    merged.set(ROOT_PATH(version), bytes)
  }
  return merged
}

/** The side whose file of this role is newer, among those where it `holds`. */
function newerSide(sides: readonly CatalogFiles[], role: string, holds: (side: CatalogFiles) => boolean): CatalogFiles {
  let newest: CatalogFiles | null = null
  for (const side of sides)
    if (side.has(METADATA_PATH(role)) && holds(side) && (newest === null || isAhead(side, newest, role))) newest = side
  if (newest === null) throw new GridError("CATALOG_INVALID", `neither catalog has ${role} as the newer root and delegations ask for it`)
  return newest
}

function isAhead(side: CatalogFiles, other: CatalogFiles, role: string): boolean {
  const kind = role === "targets" ? "targets" : "publisher"
  const [a, b] = [fileOf(side, METADATA_PATH(role)), fileOf(other, METADATA_PATH(role))]
  const ahead = readMetadata(kind, a, role).version - readMetadata(kind, b, role).version
  if (ahead !== 0) return ahead > 0
  // A revocation must not be lost to a change that somebody else made at the same moment.
  const revokes = kind === "targets" ? siteDocumentOf(side).revoked.length - siteDocumentOf(other).revoked.length : 0
  return revokes === 0 ? digestOf(a) > digestOf(b) : revokes > 0
}

function isSigned(
  kind: "targets" | "publisher",
  side: CatalogFiles,
  role: string,
  { keyids, threshold }: { readonly keyids: readonly string[]; readonly threshold: number },
  keys: SignedBody<"root">["keys"],
): boolean {
  return validSigners(readSigned(kind, fileOf(side, METADATA_PATH(role)), role), keyids, keys).length >= threshold
}

function covers(side: CatalogFiles, content: CatalogFiles): boolean {
  return [...content].every(([path, bytes]) => side.get(path)?.equals(bytes) === true)
}

/** Whether a side's snapshot lists every role as it was merged. */
function listsAll(side: CatalogFiles, merged: CatalogFiles): boolean {
  const { meta } = onlineBodies(side).snapshot
  return [...merged].every(([path, bytes]) => {
    const name = /^metadata\/([a-z0-9-]+\.json)$/.exec(path)?.[1]
    return name === undefined || meta[name]?.hashes.sha256 === digestOf(bytes)
  })
}

/** Whether no side has a higher snapshot or timestamp, or another of the same version. */
function isNewest(side: CatalogFiles, sides: readonly CatalogFiles[]): boolean {
  const own = onlineBodies(side)
  return sides.every((other) => {
    const others = onlineBodies(other)
    return (["snapshot", "timestamp"] as const).every(
      (role) => own[role].version > others[role].version || fileOf(side, METADATA_PATH(role)).equals(fileOf(other, METADATA_PATH(role))),
    )
  })
}

/** From the sides alone, for equal bytes everywhere; by the clock only when all have passed. */
function latestExpiry(bodies: readonly OnlineBodies[], role: "snapshot" | "timestamp", nowMs: number): string {
  const latest = bodies.map((body) => body[role].expires).reduce((a, b) => (a > b ? a : b))
  return Date.parse(latest) > nowMs ? latest : tufTime(nowMs + defaultLifetimes[role])
}

function higherVersions(a: SnapshotMeta, b: SnapshotMeta): SnapshotMeta {
  const higher = { ...a }
  for (const [name, listed] of Object.entries(b)) if (listed.version > (higher[name]?.version ?? 0)) higher[name] = listed
  return higher
}
