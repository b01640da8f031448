/** What a version of an image brings to a tree that has another version of it: which layers come, what the tree shall be, and where contents are. */
import { mkdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { layerOf, refOf, type Layer, type Manifest } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { formatImageRef, imageQuery, type Sha256 } from "#core/identifiers.ts"
import { deltaDelivery, freshDelivery, type Delivery } from "#core/versions.ts"
import type { Entry } from "#image/entry.ts"
import { openLayer } from "#image/open-layer.ts"
import { StagedContents } from "#image/staged-contents.ts"
import type { ContentSource } from "#image/staged-tree.ts"
import { decodeIndex, encodeIndex, type TreeIndex } from "#image/tree-index.ts"
import { unpackTree } from "#image/unpack.ts"
import { findImage, type FoundImage } from "#member/image-sources.ts"
import { LayerStore } from "#store/layer-store.ts"
import { stageFor } from "./deploy.ts"
import { indexAfter, takeContents, type DigestedIndex } from "./delta-chain.ts"
import type { DeploymentRecord } from "./deployment-record.ts"
import { heldIndex, holdIndex, requireIndex } from "./held-indexes.ts"
import { filesOf } from "./lay-over.ts"
import {
  fetchIndex,
  identitiesOf,
  openIndex,
  openLayers,
  piecesInOrder,
  whenAllComplete,
  type DownloadParts,
  type OpenableLayer,
} from "./layer-download.ts"
import { hostOf } from "./open-image.ts"
import { overridesFor, unpackOverrides, type UnpackedOverrides } from "./overrides.ts"

/** Where contents come from that the tree has not. */
export type Contents = {
  readonly deltas: readonly OpenableLayer[]
  readonly full: OpenableLayer | null
  /** Overrides, or what an earlier update kept. */
  readonly others: ContentSource
  /** Asked for where something is still missing: deltas bring nothing that the version they are of has, and a tree may have lost that. */
  readonly whole: (() => Promise<{ readonly full: OpenableLayer | null; readonly deltas: readonly OpenableLayer[] }>) | null
}

/** Of a version, as a deployment record names it. */
export type VersionThere = {
  readonly version: string
  readonly indexInfohash: Layer["infohash"]
  readonly indexSha256: Sha256
  /** With this host's overrides. */
  readonly laidSha256: Sha256
}

export type Arrived = {
  readonly next: VersionThere
  /** Of the image's index. */
  readonly indexBytes: Buffer
  /** What the tree shall be, but for local changes. */
  readonly laid: TreeIndex
  readonly contents: Contents
}

/** Open sessions and unpacked overrides; disposing of it closes and removes them. */
export class Incoming implements AsyncDisposable {
  readonly found: FoundImage
  readonly delivery: Delivery
  /** That the record's tree was when it was last good, without local changes. */
  readonly from: TreeIndex
  readonly store: LayerStore
  readonly opened: OpenableLayer[] = []
  readonly identityOf: (layer: Layer) => string
  readonly #parts: DownloadParts
  readonly #record: DeploymentRecord
  readonly #held: TreeIndex
  readonly #host: string
  #overrides: UnpackedOverrides | null = null

  private constructor(
    parts: DownloadParts,
    about: {
      readonly found: FoundImage
      readonly record: DeploymentRecord
      readonly host: string
      readonly from: TreeIndex
      readonly held: TreeIndex
      readonly delivery: Delivery
    },
    store: LayerStore,
  ) {
    this.#parts = parts
    this.found = about.found
    this.#record = about.record
    this.#host = about.host
    this.from = about.from
    this.#held = about.held
    this.delivery = about.delivery
    this.identityOf = identitiesOf(about.found, parts.member)
    this.store = store
  }

  /** Downloads nothing but the index of the version that is there, where that is not held. @throws {GridError} GRANT_MISSING, STATE_DAMAGED, DISK_FULL */
  static async open(
    parts: DownloadParts,
    about: { readonly found: FoundImage; readonly record: DeploymentRecord; readonly host: string; readonly stage: string | null },
  ): Promise<Incoming> {
    const { member } = parts
    const { record, found } = about
    const held = await indexOfRecord(parts, record)
    const from = record.laidSha256 === record.indexSha256 ? held : await requireIndex(member.home, record.laidSha256, record.version)
    const delivery = cheapest(found.manifest, record)
    const store = await LayerStore.open(await stageFor(parts, delivery.sealedBytes, record.target, about.stage))
    return new Incoming(parts, { ...about, from, held, delivery }, store)
  }

  /** What the tree shall be, by the index that is published: for those who only look. */
  async preview(): Promise<TreeIndex> {
    const { manifest } = this.found
    return (await this.#unpackedOverrides()).over(await fetchIndex(this.#parts, manifest, this.identityOf(layerOf(manifest, "index"))))
  }

  /** Downloads all that the cheapest way takes. @throws {GridError} SEEDERS_MISSING, SEALED_INVALID, INDEX_INVALID */
  async arrive(): Promise<Arrived> {
    const { manifest } = this.found
    const { delivery } = this
    const overrides = await this.#unpackedOverrides()
    const deltas = await this.#open(delivery.deltas)
    const full = delivery.full === null ? null : ((await this.#open([delivery.full]))[0] ?? null)
    await whenAllComplete(this.#parts, full === null ? deltas : [full, ...deltas], 0)
    const to = await newIndex(this.#parts, {
      found: this.found,
      held: { index: this.#held, sha256: this.#record.indexSha256 },
      deltas: delivery.full === null ? deltas : null,
      identityOf: this.identityOf,
    })
    const laid = overrides.over(to.index)
    const laidSha256 = laid === to.index ? to.sha256 : await holdIndex(this.#parts.member.home, encodeIndex(laid.entries()))
    const { infohash: indexInfohash } = layerOf(manifest, "index")
    return {
      next: { version: manifest.version, indexInfohash, indexSha256: to.sha256, laidSha256 },
      indexBytes: to.bytes,
      laid,
      contents: { deltas, full, others: overrides.contents, whole: () => this.#whole() },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { member } = this.#parts
    await rm(member.home.path("overrides"), { recursive: true, force: true })
    for (const { layer } of this.opened) await member.swarm.session(layer.infohash)?.close()
    await this.store.close()
  }

  async #open(layers: readonly Layer[]): Promise<OpenableLayer[]> {
    const some = await openLayers(this.#parts, { manifest: this.found.manifest, layers, identityOf: this.identityOf }, this.store)
    this.opened.push(...some)
    return some
  }

  async #unpackedOverrides(): Promise<UnpackedOverrides> {
    if (this.#overrides !== null) return this.#overrides
    const { member, signal } = this.#parts
    const layers = await this.#open(overridesFor(this.found.manifest, hostOf(this.found, member, this.#host)))
    if (layers.length > 0) await whenAllComplete(this.#parts, layers, 0)
    this.#overrides = await unpackOverrides(layers, member.home.path("overrides"), { signal })
    return this.#overrides
  }

  async #whole(): Promise<{ readonly full: OpenableLayer | null; readonly deltas: readonly OpenableLayer[] }> {
    const { full, deltas } = freshDelivery(this.found.manifest)
    const had = new Set(this.opened.map(({ layer }) => layer.infohash))
    const whole = await this.#open(full === null ? deltas : [full, ...deltas])
    this.#parts.emit({ event: "waiting", detail: "what was changed in the tree is in no difference: the whole image is fetched for it" })
    await whenAllComplete(
      this.#parts,
      whole.filter(({ layer }) => !had.has(layer.infohash)),
      0,
    )
    return { full: whole[0] ?? null, deltas: whole.slice(1) }
  }
}

/**
 * All contents of `made` that have a source, in `work` where they come from layers.
 * @param there of the tree that is there
 * @param requireRoom for a whole image of so many bytes
 */
export async function gatherContents(
  from: Contents,
  how: {
    readonly work: string
    readonly there: ContentSource
    readonly made: readonly Entry[]
    readonly requireRoom: (wholeBytes: number) => Promise<void>
    readonly signal: AbortSignal
  },
): Promise<ContentSource> {
  const { work, there, made, requireRoom, signal } = how
  let whole: ContentSource | null = null
  const takeWhole = async (full: OpenableLayer | null): Promise<void> => {
    if (full === null) return
    await requireRoom(full.layer.contentBytes)
    whole = await unpackWhole(full, join(work, "whole"), signal)
  }
  await requireRoom(0)
  await takeWhole(from.full)
  const contents = await StagedContents.open(
    join(work, "contents"),
    (digest) => from.others(digest) ?? there(digest) ?? whole?.(digest) ?? null,
  )
  await takeContents(from.deltas, contents, signal)
  const isMissing = () => made.some((entry) => entry.kind === "file" && entry.size > 0 && contents.at(entry.sha256) === null)
  if (isMissing() && from.full === null && from.whole !== null) {
    const { full, deltas } = await from.whole()
    await takeWhole(full)
    await takeContents(deltas, contents, signal)
  }
  return contents.at
}

/** Of `gatherContents`, once they were taken. */
export async function removeContents(work: string): Promise<void> {
  for (const name of ["contents", "whole"]) await rm(join(work, name), { recursive: true, force: true })
}

/** The tree of a full layer, for its contents: where no delta leads to what is wanted, or what a patch is of was changed. */
async function unpackWhole(full: OpenableLayer, directory: string, signal: AbortSignal): Promise<ContentSource> {
  await mkdir(directory, { mode: 0o700 })
  const entries: Entry[] = []
  const { session, layer, identity } = full
  const content = openLayer(piecesInOrder(session, signal), { identity, layer })
  await unpackTree(content, { target: directory, signal, onEntry: (entry) => entries.push(entry) })
  return filesOf(directory, decodeIndex(encodeIndex(entries)))
}

/** Deltas, or the whole where that is shorter or nothing leads here. */
function cheapest(manifest: Manifest, { version, indexSha256 }: DeploymentRecord): Delivery {
  const whole = freshDelivery(manifest)
  const deltas = deltaDelivery(manifest, { version, indexSha256 })
  return deltas !== null && deltas.sealedBytes <= whole.sealedBytes ? deltas : whole
}

async function indexOfRecord(parts: DownloadParts, record: DeploymentRecord): Promise<TreeIndex> {
  const { member, signal } = parts
  const held = await heldIndex(member.home, record.indexSha256)
  if (held !== null) return held
  const found = findImage(member.images, imageQuery(`${nameOf(record, member.home.site)}:${record.version}`), { retired: "show" })
  const layer = layerOf(found.manifest, "index")
  const torrent = await member.layers.torrent(layer.infohash)
  const identity = identitiesOf(found, member)(layer)
  if (torrent === null || !(await member.layers.isWhole(layer.infohash))) return fetchIndex(parts, found.manifest, identity)
  const pieces = await member.layers.pieces(torrent)
  return openIndex({ torrent, pieces, whenHeld: async () => {}, moveWindow: () => {} }, layer, identity, signal)
}

/** By the edits of the deltas, or as it is published. */
async function newIndex(
  parts: DownloadParts,
  how: {
    readonly found: FoundImage
    /** Of the version that is there, as it was published. */
    readonly held: DigestedIndex
    readonly deltas: readonly OpenableLayer[] | null
    readonly identityOf: (layer: Layer) => string
  },
): Promise<DigestedIndex & { readonly bytes: Buffer }> {
  const { manifest } = how.found
  const layer = layerOf(manifest, "index")
  if (how.deltas === null) {
    const index = await fetchIndex(parts, manifest, how.identityOf(layer))
    return { index, sha256: layer.contentSha256, bytes: encodeIndex(index.entries()) }
  }
  const after = await indexAfter(how.deltas, how.held, parts.signal)
  if (after.sha256 !== layer.contentSha256)
    throw new GridError(
      "INDEX_INVALID",
      `the deltas lead to ${after.sha256}, and ${formatImageRef(refOf(manifest))} is ${layer.contentSha256}`,
    )
  return { ...after, bytes: after.bytes ?? encodeIndex(after.index.entries()) }
}

/** As this member names it. */
export function nameOf({ site, name }: DeploymentRecord, own: string): string {
  return site === own ? name : `${site}/${name}`
}
