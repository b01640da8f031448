/** What differs between two images, from their signed indexes: neither tree is needed, nor the layers that hold their contents. */
import { changesBetween, type Change, type ChangeKind } from "#image/tree-diff.ts"
import type { Entry } from "#image/entry.ts"
import type { TreeIndex } from "#image/tree-index.ts"
import { layerOf } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImage, type FoundImage } from "#member/image-sources.ts"
import type { Home } from "#member/home.ts"
import type { Member } from "#member/member.ts"
import type { DeployParts } from "./deploy.ts"
import { fetchIndex } from "./layer-download.ts"
import { requireImageIdentity } from "./open-image.ts"
import { indexOfHeldLayer } from "./verify.ts"

export type Tally = { readonly entries: number; readonly bytes: number }
export type DiffTotals = {
  /** Bytes are those of files. */
  readonly added: Tally
  readonly removed: Tally
  /** Bytes: of the files, as they are after, whose content is another. */
  readonly changed: Tally
  /** How many entries differ in each thing. */
  readonly what: Readonly<Partial<Record<ChangeKind, number>>>
  readonly unchanged: number
}

/** Yields each change, and returns the totals. */
export function* diffIndexes(before: TreeIndex, after: TreeIndex): Generator<Change, DiffTotals> {
  const added = { entries: 0, bytes: 0 }
  const removed = { entries: 0, bytes: 0 }
  const changed = { entries: 0, bytes: 0 }
  const what: Partial<Record<ChangeKind, number>> = {}
  for (const change of changesBetween(before.entries(), after.entries())) {
    const tally = change.before === null ? added : change.after === null ? removed : changed
    tally.entries += 1
    if (tally !== changed || change.what.includes("content") || change.what.includes("kind"))
      tally.bytes += fileBytes(change.after ?? change.before)
    for (const kind of change.what) what[kind] = (what[kind] ?? 0) + 1
    yield change
  }
  return { added, removed, changed, what, unchanged: after.entryCount - added.entries - changed.entries }
}

/** Of a file; anything else has none of its own. */
export function fileBytes(entry: Entry | null): number {
  return entry?.kind === "file" ? entry.size : 0
}

export type IndexParts = {
  readonly home: Home
  readonly signal: AbortSignal
  /** Says that nobody who holds an index was found yet. */
  readonly onWaiting: (detail: string) => void
  /** Runs something as the client of this home, which it has to itself meanwhile. */
  readonly asClient: <Result>(use: (member: Member) => Promise<Result>) => Promise<Result>
}

/**
 * The indexes of these images, opened with this member's grants: from the home where it keeps them, else a client fetches them from the swarm, and keeps
 * none that it did not have.
 * @throws {GridError} GRANT_MISSING; SEEDERS_MISSING, at a server when it does not hold one
 */
export async function indexesOf(parts: IndexParts, images: readonly FoundImage[]): Promise<TreeIndex[]> {
  const { home, signal } = parts
  const opener = { site: home.site, secrets: await home.secrets() }
  const wanted = images.map((image) => ({ image, identity: requireImageIdentity(image, opener) }))
  const held = await Promise.all(wanted.map(({ image, identity }) => indexOfHeldLayer(home, image.manifest, identity, signal)))
  const missing = wanted.filter((_, position) => held[position] === null)
  if (missing.length === 0) return held.filter((index) => index !== null)
  if (home.role !== "client")
    throw new GridError(
      "SEEDERS_MISSING",
      `the index of ${missing.map(({ image }) => formatImage(image.manifest, home.site)).join(", ")} is not whole in ${home.directory}; ask at a server that holds it, or at a client`,
    )
  const fetched = await parts.asClient((member) => fetchIndexes(parts, member, missing))
  return wanted.flatMap(({ image }, position) => held[position] ?? fetched.get(layerOf(image.manifest, "index").infohash) ?? [])
}

type Wanted = { readonly image: FoundImage; readonly identity: string }

async function fetchIndexes(parts: IndexParts, member: Member, missing: readonly Wanted[]): Promise<Map<string, TreeIndex>> {
  const emit: DeployParts["emit"] = (event) => {
    if (event.event === "waiting") parts.onWaiting(event.detail)
  }
  const fetched = new Map<string, TreeIndex>()
  for (const { image, identity } of missing) {
    const { infohash } = layerOf(image.manifest, "index")
    if (fetched.has(infohash)) continue
    try {
      fetched.set(infohash, await fetchIndex({ member, signal: parts.signal, emit }, image.manifest, identity))
    } finally {
      await member.swarm.session(infohash)?.close()
      await member.layers.remove(infohash)
    }
  }
  return fetched
}
