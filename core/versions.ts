/** Which layers bring a tree to a version of an image. Pure. */
import { layerOf, type Layer, type Manifest } from "./documents.ts"
import type { Sha256 } from "./identifiers.ts"

/** What it takes to have a version. */
export type Delivery = {
  /** A tree of the whole, of this version of the image or an earlier one; null where what is there already is changed. */
  readonly full: Layer | null
  /** In the order in which they follow each other. */
  readonly deltas: readonly Layer[]
  readonly sealedBytes: number
}

/** The version of the image that a layer was made for. */
export function versionOf(manifest: Manifest, layer: Layer): string {
  return layer.version ?? manifest.version
}

/** Those made for this version, and not for an earlier one from which deltas lead to it. */
export function ownLayers(manifest: Manifest): readonly Layer[] {
  return manifest.layers.filter((layer) => versionOf(manifest, layer) === manifest.version)
}

/** A version that a tree has: its name and the digest of its index, opened. */
export type HeldVersion = { readonly version: string; readonly indexSha256: Sha256 }

/** Where nothing is there yet. */
export function freshDelivery(manifest: Manifest): Delivery {
  const full = manifest.layers.find(({ kind }) => kind === "full") ?? null
  return delivery(manifest, full, full === null ? manifest.version : versionOf(manifest, full))
}

/** From a version that is there by deltas alone; null where they don't lead from it. */
export function deltaDelivery(manifest: Manifest, held: HeldVersion): Delivery | null {
  const known = [
    ...(manifest.lineage?.versions ?? []),
    { version: manifest.version, indexSha256: layerOf(manifest, "index").contentSha256 },
  ].some(({ version, indexSha256 }) => version === held.version && indexSha256 === held.indexSha256)
  return known ? delivery(manifest, null, held.version) : null
}

function delivery(manifest: Manifest, full: Layer | null, from: string): Delivery {
  const versions = [...(manifest.lineage?.versions ?? []).map(({ version }) => version), manifest.version]
  const after = new Set<string>(versions.slice(versions.indexOf(from) + 1))
  const deltas = manifest.layers.filter((layer) => layer.kind === "delta" && after.has(versionOf(manifest, layer)))
  const layers = full === null ? deltas : [full, ...deltas]
  return { full, deltas, sealedBytes: layers.reduce((sum, { sealedBytes }) => sum + sealedBytes, 0) }
}

export type FullPolicy = "auto" | "always" | "never"

/** As many deltas as are laid over a full layer before `auto` makes another one. */
const CHAIN_MAX = 12
/** And as many of its bytes. */
const CHAIN_SHARE = 0.5

/** Whether a version that follows `parent` by a delta of so many bytes gets a full layer of its own. */
export function isFullDue(parent: Manifest, deltaBytes: number, policy: FullPolicy): boolean {
  if (policy !== "auto") return policy === "always"
  const { full, deltas, sealedBytes } = freshDelivery(parent)
  const fullBytes = full?.sealedBytes ?? 0
  return deltas.length + 1 > CHAIN_MAX || sealedBytes - fullBytes + deltaBytes > fullBytes * CHAIN_SHARE
}

/**
 * What a version takes over of its parent: the versions from which deltas lead to it, and their layers. Those from which a full layer is the shorter way
 * are left out, unless the full layer is one of theirs.
 */
export function inherit(
  parent: Manifest,
  parentIndex: Sha256,
  own: { readonly full: Layer | null; readonly delta: Layer },
  maxVersions: number,
): { readonly versions: readonly HeldVersion[]; readonly layers: readonly Layer[] } {
  const versions: HeldVersion[] = [...(parent.lineage?.versions ?? []), { version: parent.version, indexSha256: parentIndex }]
  const layers = parent.layers.map((layer): Layer => ({ ...layer, version: versionOf(parent, layer) }))
  const parentFull = layers.find(({ kind }) => kind === "full")
  const full = own.full ?? parentFull
  const deltaOf = (version: string) => layers.find((layer) => layer.kind === "delta" && layer.version === version)
  let bytes = own.delta.sealedBytes
  let first = versions.length - 1
  while (first > 0) {
    const delta = deltaOf(versions[first]?.version ?? "")
    const isNeeded = own.full === null && versions.slice(0, first).some(({ version }) => version === parentFull?.version)
    bytes += delta?.sealedBytes ?? 0
    if (!isNeeded && (delta === undefined || bytes > (full?.sealedBytes ?? 0) || versions.length - first >= maxVersions)) break
    first -= 1
  }
  const kept = versions.slice(first)
  const deltas = kept.slice(1).flatMap(({ version }) => deltaOf(version) ?? [])
  return { versions: kept, layers: own.full === null && parentFull !== undefined ? [parentFull, ...deltas] : deltas }
}
