/** What the holders of a site's keys do, in one line each: changes drafted, signed and applied as the program does it. */
import assert from "node:assert/strict"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { applyChange, draftChange, signChange, type Change, type Edits } from "#trust/change.ts"
import { keyIdOfSeed, tufKeyOf, type SignedBody } from "#trust/metadata.ts"
import { pathsOfPattern } from "#trust/name-patterns.ts"
import type { OnlineSeeds } from "#trust/online-roles.ts"
import { signPublication } from "#trust/publication.ts"
import { bodyOf, grantsOf, keys, manifestOf, online as labOnline, seedOf, startMs } from "./repositories.ts"

export type Hands = { readonly seeds?: readonly Uint8Array[]; readonly online?: OnlineSeeds; readonly nowMs?: number }

/** With the first root and targets key of the test site, unless others are given. */
export function changed(files: CatalogFiles, edits: Edits, hands: Hands = {}): CatalogFiles {
  const { seeds = [keys.root, keys.targets, keys.publisher], online = labOnline, nowMs = startMs } = hands
  const change = signChange(files, draftChange(files, edits, nowMs), seeds)
  return applyChange({ files, change, online: () => online, nowMs })
}

type TopRole = "root" | "targets" | "snapshot" | "timestamp"

/** An edit of the root: these roles get these keys, each with its threshold. */
export function rekeyed(roles: Partial<Record<TopRole, { readonly seeds: readonly Uint8Array[]; readonly threshold?: number }>>) {
  return (root: SignedBody<"root">): SignedBody<"root"> => {
    for (const [role, { seeds, threshold = 1 }] of Object.entries(roles)) {
      for (const seed of seeds) root.keys[keyIdOfSeed(seed)] = tufKeyOf(seed)
      root.roles[role as TopRole] = { keyids: seeds.map(keyIdOfSeed), threshold }
    }
    return root
  }
}

export const nextOnline: OnlineSeeds = { snapshotSeed: seedOf("next snapshot"), timestampSeed: seedOf("next timestamp") }

/** What a site does when its online keys were stolen: the root names new ones, and everything is signed with them. */
export function onlineReplaced(files: CatalogFiles, next: OnlineSeeds = nextOnline, nowMs = startMs): CatalogFiles {
  const root = rekeyed({ snapshot: { seeds: [next.snapshotSeed] }, timestamp: { seeds: [next.timestampSeed] } })
  return changed(files, { root }, { online: next, nowMs })
}

export type PublisherParts = { readonly seeds: readonly Uint8Array[]; readonly threshold?: number; readonly pattern: string }

/** An edit of the delegations: the publishers are these and no others. */
export function publishersAre(publishers: Readonly<Record<string, PublisherParts>>) {
  return (): SignedBody<"targets">["delegations"] => ({
    keys: Object.fromEntries(Object.values(publishers).flatMap(({ seeds }) => seeds.map((seed) => [keyIdOfSeed(seed), tufKeyOf(seed)]))),
    roles: Object.entries(publishers).map(([name, { seeds, threshold = 1, pattern }]) => ({
      name,
      keyids: seeds.map(keyIdOfSeed),
      threshold,
      terminating: true,
      paths: pathsOfPattern(pattern),
    })),
  })
}

/** A publication of one image, signed with these seeds. */
export function publication(files: CatalogFiles, image: string, seeds: readonly Uint8Array[], nowMs = startMs): Change {
  return signPublication({ files, seeds, manifest: manifestOf(image), grants: grantsOf(image), nowMs })
}

export function published(files: CatalogFiles, image: string, hands: Hands = {}): CatalogFiles {
  const { seeds = [keys.publisher], online = labOnline, nowMs = startMs } = hands
  return applyChange({ files, change: publication(files, image, seeds, nowMs), online: () => online, nowMs })
}

/** The version of a role's file. */
export function versionOf(files: CatalogFiles, role: "timestamp" | "snapshot" | "targets"): number {
  const { version } = bodyOf(files, role)
  assert.ok(version > 0)
  return version
}
