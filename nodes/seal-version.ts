/** A directory -> the sealed layers of an image version and what its manifest says of them: the whole tree, or what it has beyond an earlier version. */
import { hash } from "node:crypto"
import { realpath, rm } from "node:fs/promises"
import { openGrant } from "#crypto/grant.ts"
import { openLineage, sealLineage, type VersionIdentity } from "#crypto/lineage.ts"
import { layerOf, LINEAGE_MAX, type Layer, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, type ImageRef, type Sha256 } from "#core/identifiers.ts"
import { inherit, isFullDue, type FullPolicy } from "#core/versions.ts"
import type { Entry } from "#image/entry.ts"
import { openLayer } from "#image/open-layer.ts"
import { scanTree, walkStates, type EntryState } from "#image/scan-tree.ts"
import { sealDelta } from "#image/seal-delta.ts"
import { sealImage, type SealedLayer } from "#image/seal-image.ts"
import { decodeIndex, encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import type { Home } from "#member/home.ts"
import type { LayerStore } from "#store/layer-store.ts"
import type { Catalog } from "#trust/catalog.ts"
import { CaptureMemory } from "./capture-memory.ts"
import { heldContent } from "./held-content.ts"

export type SealVersionParts = {
  readonly home: Home
  readonly layers: LayerStore
  readonly random: (byteCount: number) => Uint8Array
  readonly signal: AbortSignal
  readonly onProgress?:
    | ((progress: { readonly phase: "sealing"; readonly contentBytes: number; readonly sealedBytes: number }) => void)
    | undefined
}
export type SealVersionOptions = {
  readonly directory: string
  readonly ref: ImageRef
  /** On the file system of the home. */
  readonly workDirectory: string
  readonly identity: string
  readonly recipient: string
  readonly pieceBytes: number | null
  /** Null where the version stands alone. */
  readonly parent: Parent | null
  readonly full: FullPolicy
  /** Whether also files are read that look as they did when the parent was published. */
  readonly reread: boolean
}

/** An earlier version that this home can open. */
export type Parent = {
  readonly manifest: Manifest
  readonly index: TreeIndex
  /** Of its lineage, and its own, oldest first. */
  readonly identities: readonly VersionIdentity[]
}

export type SealedVersion = {
  readonly sealed: readonly SealedLayer[]
  readonly described: Pick<Manifest, "entryCount" | "layers" | "lineage">
  readonly entries: readonly Entry[]
  readonly socketCount: number
  /** What was read of the tree. */
  readonly read: { readonly files: number; readonly bytes: number }
  /** Contents that the parent has not, and those of them that became patches; null where there is no parent. */
  readonly delta: { readonly contents: number; readonly patches: number } | null
  /** Keeps in mind what the next version is compared with; to be called once this one is published. */
  readonly remember: (contents: boolean) => Promise<void>
}

/** @throws {GridError} IMAGE_UNKNOWN, GRANT_MISSING, LAYER_MISSING */
export async function openParent(
  { home, layers }: Pick<SealVersionParts, "home" | "layers">,
  catalog: Catalog,
  ref: ImageRef,
): Promise<Parent> {
  const name = formatImageRef(ref)
  const manifest = catalog.images.get(name)
  if (manifest === undefined) throw new GridError("IMAGE_UNKNOWN", `${name}; 'imagegrid images' lists the versions that there are`)
  const grants = catalog.grants.get(name)
  const identity = grants === undefined ? null : openGrant(home.site, grants, (await home.secrets()).groups)
  if (identity === null) throw new GridError("GRANT_MISSING", `this home can't open ${name}, from which the new version is to be made`)
  const own = { version: ref.version, identity }
  const earlier = manifest.lineage === null ? [] : openLineage({ site: home.site, ref, identity }, manifest.lineage.sealed)
  const layer = layerOf(manifest, "index")
  const chunks: Buffer[] = []
  for await (const chunk of openLayer(await heldContent(layers, layer), { identity, layer })) chunks.push(chunk)
  return { manifest, index: decodeIndex(Buffer.concat(chunks)), identities: [...earlier, own] }
}

/** @throws {GridError} SOURCE_MISSING, CAPTURE_FAILED, DISK_FULL, USAGE where `full` forbids what the lineage needs */
export async function sealVersion(parts: SealVersionParts, options: SealVersionOptions): Promise<SealedVersion> {
  return options.parent === null ? sealAlone(parts, options) : sealAfter(parts, options, options.parent)
}

async function sealAlone(parts: SealVersionParts, options: SealVersionOptions): Promise<SealedVersion> {
  const stateOf = await walkStates(options.directory, parts.signal).catch(() => null)
  const entries: Entry[] = []
  const { full, index, entryCount, socketCount } = await sealImage({
    ...options,
    pieceBytes: options.pieceBytes ?? undefined,
    signal: parts.signal,
    onProgress: parts.onProgress,
    onEntry: (entry) => entries.push(entry),
  })
  const files = entries.filter(({ kind }) => kind === "file")
  return {
    sealed: [full, index],
    described: { entryCount, layers: [described("full", full), described("index", index)], lineage: null },
    entries,
    socketCount,
    read: { files: files.length, bytes: files.reduce((sum, entry) => sum + (entry.kind === "file" ? entry.size : 0), 0) },
    delta: null,
    remember: (contents) =>
      remember(parts, options, {
        entries,
        states: stateOf === null ? [] : entries.map(stateOf),
        indexSha256: index.contentSha256,
        contents,
      }),
  }
}

async function sealAfter(parts: SealVersionParts, options: SealVersionOptions, parent: Parent): Promise<SealedVersion> {
  const { home, signal, random, onProgress } = parts
  const { directory, ref, identity } = options
  const memory = CaptureMemory.of(home, ref.name)
  const before = { entries: [...parent.index.entries()], sha256: layerOf(parent.manifest, "index").contentSha256 }
  const states = options.reread ? null : await memory.states(await realpath(directory), before.sha256)
  const scan = await scanTree({
    directory,
    earlier: states === null ? null : { entries: before.entries, states },
    signal,
    onProgress: ({ fileBytes }) => onProgress?.({ phase: "sealing", contentBytes: fileBytes, sealedBytes: 0 }),
  })
  const bytes = encodeIndex(scan.entries)
  const after = { bytes, entries: scan.entries, sha256: hash("sha256", bytes) as Sha256 }
  const made = await sealDelta({
    ...options,
    before,
    after,
    earlierContent: (digest) => memory.content(digest),
    signal,
  })
  const sealed = [made.delta]
  const delta = described("delta", made.delta)
  let [full, index]: [Layer | null, Layer] = [null, described("index", made.index)]
  if (isFullDue(parent.manifest, made.delta.sealedBytes, options.full)) {
    const whole = await sealImage({ ...options, pieceBytes: options.pieceBytes ?? undefined, signal, onProgress })
    if (whole.index.contentSha256 !== after.sha256)
      throw new GridError("CAPTURE_FAILED", `${directory} changed while it was read; publish again when nothing writes there`)
    await rm(made.index.path, { force: true })
    sealed.push(whole.full, whole.index)
    full = described("full", whole.full)
    index = described("index", whole.index)
  } else sealed.push(made.index)
  const inherited = inherit(parent.manifest, before.sha256, { full, delta }, LINEAGE_MAX)
  if (inherited.versions.length > LINEAGE_MAX)
    throw new GridError(
      "USAGE",
      `${inherited.versions.length} versions would lead to this one, ${LINEAGE_MAX} may; publish it with --full always`,
    )
  const versions = new Set(inherited.versions.map(({ version }) => version))
  const identities = parent.identities.filter(({ version }) => versions.has(version))
  return {
    sealed,
    described: {
      entryCount: scan.entries.length,
      layers: [...(full === null ? [] : [full]), ...inherited.layers, delta, index],
      lineage: { versions: [...inherited.versions], sealed: sealLineage({ site: home.site, ref, identity }, identities, random) },
    },
    entries: scan.entries,
    socketCount: scan.socketCount,
    read: { files: scan.readFiles, bytes: scan.readBytes },
    delta: { contents: made.contents, patches: made.patches },
    remember: (contents) => remember(parts, options, { entries: scan.entries, states: scan.states, indexSha256: after.sha256, contents }),
  }
}

type Remembered = {
  readonly entries: readonly Entry[]
  readonly states: readonly EntryState[]
  readonly indexSha256: Sha256
  readonly contents: boolean
}

async function remember({ home, signal }: SealVersionParts, options: SealVersionOptions, seen: Remembered): Promise<void> {
  const memory = CaptureMemory.of(home, options.ref.name)
  const directory = await realpath(options.directory)
  if (seen.states.length === seen.entries.length) await memory.saveStates(directory, seen.indexSha256, seen.states)
  await memory.rememberContents(directory, seen.contents ? seen.entries : [], signal)
}

/** What a manifest says of a layer. */
export function described(kind: Layer["kind"], layer: SealedLayer): Layer {
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
