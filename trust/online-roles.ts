/**
 * What servers sign by themselves: the snapshot and the timestamp. Every function returns new files and leaves those given as they
 * are, unless it says otherwise; the files given were verified by openCatalog before.
 */
import { GridError } from "#core/errors.ts"
import { METADATA_PATH, type CatalogFiles } from "./catalog-file.ts"
import { fileOf, newestRoot, publisherFileOf, targetsOf } from "./files.ts"
import { defaultLifetimes, SNAPSHOT_RENEWED_BEFORE_MS } from "./lifetimes.ts"
import { keyIdOfSeed, listedFile, readMetadata, signMetadata, SPEC_VERSION, tufTime, type SignedBody } from "./metadata.ts"

/** What every issuing server of a site holds, so that any one of them keeps the repository fresh. */
export type OnlineSeeds = { readonly snapshotSeed: Uint8Array; readonly timestampSeed: Uint8Array }
export type SnapshotMeta = SignedBody<"snapshot">["meta"]
export type OnlineBodies = { readonly snapshot: SignedBody<"snapshot">; readonly timestamp: SignedBody<"timestamp"> }

/** Versions stay well below what the form allows, so that there is always a next one; only stolen keys get this far. */
const VERSION_RESET_ABOVE = 1_000_000_000

export type Refresh = { readonly files: CatalogFiles; readonly online: OnlineSeeds; readonly nowMs: number }

/** Signs a newer timestamp and, near its end, a newer snapshot. @throws {GridError} KEY_MISSING */
export function refreshTimestamp({ files, online, nowMs }: Refresh): CatalogFiles {
  const next = new Map(files)
  const { snapshot, timestamp } = onlineBodies(files)
  const renewed = Date.parse(snapshot.expires) - nowMs < SNAPSHOT_RENEWED_BEFORE_MS
  signOnline(next, online, {
    ...(renewed && {
      snapshot: { version: snapshot.version + 1, expires: tufTime(nowMs + defaultLifetimes.snapshot), former: snapshot.meta },
    }),
    timestamp: { version: timestamp.version + 1, expires: tufTime(nowMs + defaultLifetimes.timestamp) },
  })
  return next
}

/**
 * Signs snapshot and timestamp over files that a change has changed since `before`, in place. Where the change replaced the online keys,
 * members drop what the old keys said (TUF 5.3.11), and a thief's version near the end of all numbers with it.
 * @throws {GridError} KEY_MISSING
 */
export function signAfterChange(files: Map<string, Buffer>, before: CatalogFiles, online: OnlineSeeds, nowMs: number): void {
  const { snapshot, timestamp } = onlineBodies(before)
  const replaced = onlineKeysOf(newestRoot(before)) !== onlineKeysOf(newestRoot(files))
  signOnline(files, online, {
    // A role that is no more stays listed (TUF 5.5.5), or members would see a rollback; but what the old keys listed counts no more.
    snapshot: {
      version: nextVersion(snapshot.version, replaced),
      expires: tufTime(nowMs + defaultLifetimes.snapshot),
      former: replaced ? {} : snapshot.meta,
    },
    timestamp: { version: nextVersion(timestamp.version, replaced), expires: tufTime(nowMs + defaultLifetimes.timestamp) },
  })
}

/** The version that follows; where online keys were replaced, one near the end of all numbers is followed by 1. */
export function nextVersion(version: number, replaced: boolean): number {
  return replaced && version > VERSION_RESET_ABOVE ? 1 : version + 1
}

export function onlineBodies(files: CatalogFiles): OnlineBodies {
  return {
    snapshot: readMetadata("snapshot", fileOf(files, METADATA_PATH("snapshot"))),
    timestamp: readMetadata("timestamp", fileOf(files, METADATA_PATH("timestamp"))),
  }
}

/** The keys of timestamp and snapshot as one text: equal for equal keys and thresholds. */
export function onlineKeysOf({ roles }: SignedBody<"root">): string {
  return JSON.stringify([roles.timestamp, roles.snapshot].map(({ keyids, threshold }) => [[...keyids].sort(), threshold]))
}

/** Those of the seeds that the root names; null where one is missing, as on a server that has not heard of a rotation yet. */
export function seedsInForce(
  root: SignedBody<"root">,
  held: { readonly snapshot: readonly Uint8Array[]; readonly timestamp: readonly Uint8Array[] },
): OnlineSeeds | null {
  const named = (role: "snapshot" | "timestamp") => held[role].find((seed) => root.roles[role].keyids.includes(keyIdOfSeed(seed)))
  const [snapshotSeed, timestampSeed] = [named("snapshot"), named("timestamp")]
  return snapshotSeed === undefined || timestampSeed === undefined ? null : { snapshotSeed, timestampSeed }
}

export type OnlineChange = {
  /** `former`: what the last snapshot listed. */
  readonly snapshot?: { readonly version: number; readonly expires: string; readonly former: SnapshotMeta }
  readonly timestamp: { readonly version: number; readonly expires: string }
}

/** Signs the snapshot, where one is asked for, and the timestamp over the other files, and puts them in. @throws {GridError} KEY_MISSING */
export function signOnline(files: Map<string, Buffer>, online: OnlineSeeds, change: OnlineChange): void {
  const root = newestRoot(files)
  for (const [role, seed] of [["snapshot", online.snapshotSeed] as const, ["timestamp", online.timestampSeed] as const])
    if (!root.roles[role].keyids.includes(keyIdOfSeed(seed)))
      throw new GridError("KEY_MISSING", `the ${role} key of this server is not the site's any more; join again with a new invite`)
  if (change.snapshot !== undefined) {
    const { version, expires, former } = change.snapshot
    const meta: SnapshotMeta = { ...former }
    const targets = targetsOf(files)
    meta["targets.json"] = listedFile(targets.version, fileOf(files, METADATA_PATH("targets")))
    for (const { name } of targets.delegations.roles)
      meta[`${name}.json`] = listedFile(publisherFileOf(files, name).version, fileOf(files, METADATA_PATH(name)))
    const body: SignedBody<"snapshot"> = { _type: "snapshot", spec_version: SPEC_VERSION, version, expires, meta }
    files.set(METADATA_PATH("snapshot"), signMetadata<"snapshot">(body, [online.snapshotSeed]))
  }
  const snapshotBytes = fileOf(files, METADATA_PATH("snapshot"))
  const { version, expires } = change.timestamp
  const meta = { "snapshot.json": listedFile(readMetadata("snapshot", snapshotBytes).version, snapshotBytes) }
  const body: SignedBody<"timestamp"> = { _type: "timestamp", spec_version: SPEC_VERSION, version, expires, meta }
  files.set(METADATA_PATH("timestamp"), signMetadata<"timestamp">(body, [online.timestampSeed]))
}
