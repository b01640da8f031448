/**
 * The documents that a site signs: its own description, one manifest per image version, the grants of each, and the tags of each image.
 * They are targets of the site's TUF repository; `targetPath` says where each stands in it.
 */
import { Type, type Static } from "typebox"
import type { Infohash, ImageName, ImageRef, ImageVersion, Sha256 } from "./identifiers.ts"
import { imageName, imageVersion } from "./identifiers.ts"
import { GridError } from "./errors.ts"
import { NAME_PATTERN_LENGTH_MAX, namePattern } from "./name-patterns.ts"
import { PIECE_BYTES_MAX, PIECE_BYTES_MIN } from "./torrent.ts"
import { formatAppliesTo, hostPattern, overridesInOrder } from "./overrides.ts"
import { reader } from "./schema.ts"

/** A whole number that JSON and JavaScript carry exactly. */
export const WholeNumber = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
export const Hex16 = Type.String({ pattern: "^[0-9a-f]{32}$" })
export const Hex20 = Type.Unsafe<Infohash>(Type.String({ pattern: "^[0-9a-f]{40}$" }))
export const Hex32 = Type.String({ pattern: "^[0-9a-f]{64}$" })
export const Digest = Type.Unsafe<Sha256>(Type.String({ pattern: "^[0-9a-f]{64}$" }))
export const Label = Type.String({ pattern: "^[a-z0-9][a-z0-9-]{0,62}$" })
export const Base64 = (maxLength: number) => Type.String({ pattern: "^[A-Za-z0-9+/]*={0,2}$", maxLength })

/** `GROUP` of the own site, or `SITE/GROUP` of another. */
const GranteePattern = Type.String({ pattern: "^([a-z0-9][a-z0-9-]{0,62}/)?[a-z0-9][a-z0-9-]{0,62}$" })
const HOST_PATTERN_LENGTH_MAX = 128
/** Overrides of one image version. */
export const OVERRIDES_MAX = 32
/** Content of an override, a boot payload, a set of scripts. */
export const ATTACHMENT_BYTES_MAX = 1024 ** 3

/** Versions in a lineage. */
export const LINEAGE_MAX = 24

/** One sealed file of an image, and the torrent that carries it. */
export const Layer = Type.Object(
  {
    /**
     * `full`: a GNU tar of the whole tree. `delta`: what it has beyond the version before it (image/delta-layer.ts). `index`: the list of all its entries
     * (image/tree-index.ts). The others are GNU tars of small trees beside it: `override` of what some hosts have in its place (core/overrides.ts), `boot`
     * of what a machine is booted with, `scripts` of what is run `before` and `after` a deploy.
     */
    kind: Type.Union([
      Type.Literal("full"),
      Type.Literal("delta"),
      Type.Literal("index"),
      Type.Literal("override"),
      Type.Literal("boot"),
      Type.Literal("scripts"),
    ]),
    /** Of an override: its hosts. */
    appliesTo: Type.Optional(
      Type.Union([
        Type.Object({ group: GranteePattern }, { additionalProperties: false }),
        Type.Object({ hosts: Type.String({ maxLength: HOST_PATTERN_LENGTH_MAX }) }, { additionalProperties: false }),
      ]),
    ),
    /** The version of this image, in its lineage, whose identity opens the layer; left out where it is this one. */
    version: Type.Optional(Type.String({ maxLength: 64 })),
    infohash: Hex20,
    pieceBytes: Type.Integer({ minimum: PIECE_BYTES_MIN, maximum: PIECE_BYTES_MAX }),
    /** The age file: what is stored, torrented and passed on. */
    sealedBytes: WholeNumber,
    sealedSha256: Digest,
    /** What comes out after opening and decompressing. */
    contentBytes: WholeNumber,
    contentSha256: Digest,
  },
  { additionalProperties: false },
)
export type Layer = Static<typeof Layer>

/** Of paths, as image/path-patterns.ts reads them. */
export const PATH_PATTERNS_MAX = 64
export const PATH_PATTERN_LENGTH_MAX = 200

export const Manifest = Type.Object(
  {
    format: Type.Literal("imagegrid-manifest-1"),
    site: Label,
    name: Type.String({ maxLength: 128 }),
    version: Type.String({ maxLength: 64 }),
    publishedAtMs: WholeNumber,
    /** The age recipient (public key) that every layer of this version is sealed to. */
    recipient: Type.String({ pattern: "^age1[02-9ac-hj-np-z]{58}$" }),
    entryCount: WholeNumber,
    layers: Type.Array(Layer, { minItems: 2, maxItems: 64 }),
    /** Patterns of paths that belong to each machine: updates do not touch them. */
    exclude: Type.Array(Type.String({ minLength: 1, maxLength: PATH_PATTERN_LENGTH_MAX }), { maxItems: PATH_PATTERNS_MAX }),
    /** The versions that this one was made from by deltas (core/versions.ts); null where it stands alone. */
    lineage: Type.Union([
      Type.Null(),
      Type.Object(
        {
          /** The oldest first. `indexSha256` is the digest of that version's index, opened. */
          versions: Type.Array(
            Type.Object({ version: Type.String({ maxLength: 64 }), indexSha256: Digest }, { additionalProperties: false }),
            {
              minItems: 1,
              maxItems: LINEAGE_MAX,
            },
          ),
          /** Their identities, sealed to this version's (crypto/lineage.ts). */
          sealed: Base64(16_000),
        },
        { additionalProperties: false },
      ),
    ]),
  },
  { additionalProperties: false },
)
export type Manifest = Static<typeof Manifest>

/** Permission for one group to open one image version: the image identity, sealed to the group's key. */
export const Grant = Type.Object(
  {
    /** `GROUP` of the own site, or `SITE/GROUP` of another. */
    group: GranteePattern,
    generation: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    /** crypto/sealed-box.ts over crypto/grant.ts's plaintext, which names site, image and group again. */
    sealed: Base64(2_000),
  },
  { additionalProperties: false },
)
export type Grant = Static<typeof Grant>

export const Grants = Type.Object(
  {
    format: Type.Literal("imagegrid-grants-1"),
    site: Label,
    name: Type.String({ maxLength: 128 }),
    version: Type.String({ maxLength: 64 }),
    grants: Type.Array(Grant, { maxItems: 1_000 }),
    /** Unix ms when the publisher took the version out of use; null while it is in use. */
    retiredAtMs: Type.Union([WholeNumber, Type.Null()]),
    /** Whether no rule retires it. */
    pinned: Type.Boolean(),
  },
  { additionalProperties: false },
)
export type Grants = Static<typeof Grants>

/** Names that move, of versions of one image. */
export const Tags = Type.Object(
  {
    format: Type.Literal("imagegrid-tags-1"),
    site: Label,
    name: Type.String({ maxLength: 128 }),
    /** Each tag once; none is left where the last was taken away. */
    tags: Type.Array(
      Type.Object(
        {
          tag: Type.String({ maxLength: 64 }),
          /** The version that it names. */
          version: Type.String({ maxLength: 64 }),
          /** Unix ms when it came to name that one. */
          movedAtMs: WholeNumber,
        },
        { additionalProperties: false },
      ),
      { maxItems: 1_000 },
    ),
  },
  { additionalProperties: false },
)
export type Tags = Static<typeof Tags>
export type Tag = Tags["tags"][number]

/** What publishers sign. */
export type ImageDocument = Manifest | Grants | Tags

/** HOST:PORT (core/address.ts). */
export const WireAddress = Type.String({ pattern: "^[a-zA-Z0-9][a-zA-Z0-9.-]*:[0-9]{1,5}$", maxLength: 260 })
/** Of image names (core/name-patterns.ts). */
const NamePatterns = Type.Array(Type.String({ pattern: "^[a-z0-9*][a-z0-9._*/-]*$", maxLength: NAME_PATTERN_LENGTH_MAX }), { maxItems: 64 })

/** What one site grants another and wants of it. It counts while both sites' documents name each other (core/federation.ts). */
export const Agreement = Type.Object(
  {
    /** The other site. */
    site: Label,
    /** SHA-256 of its first root metadata: what all trust in it starts from. */
    rootDigest: Digest,
    /** DER of its authorities as of the agreement, base64: to reach it before its own document is here. */
    authorities: Type.Array(Base64(4_000), { minItems: 1, maxItems: 16 }),
    /** Where some of its servers answered at the time of the agreement. */
    servers: Type.Array(Type.Object({ api: WireAddress, swarm: WireAddress, dht: WireAddress }, { additionalProperties: false }), {
      minItems: 1,
      maxItems: 16,
    }),
    /** Images of this site that the other's members may mirror and deploy. */
    shares: NamePatterns,
    /** Images of the other site that this one's servers keep copies of. */
    mirrors: NamePatterns,
    /** Unix ms when this site ended it; null while it stands. The other site's servers may still come to read that. */
    endedAtMs: Type.Union([WholeNumber, Type.Null()]),
  },
  { additionalProperties: false },
)
export type Agreement = Static<typeof Agreement>

export const SiteDocument = Type.Object(
  {
    format: Type.Literal("imagegrid-site-1"),
    site: Label,
    /** DER of the certificate authorities whose members the site admits, base64. The first is the one that issues. */
    authorities: Type.Array(Base64(4_000), { minItems: 1, maxItems: 16 }),
    /** Ed25519 public key of the BEP 46 pointer to the newest catalog. */
    pointerKey: Hex32,
    groups: Type.Array(
      Type.Object(
        {
          name: Label,
          generation: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
          /** X25519 public key that grants to this group are sealed to. */
          publicKey: Hex32,
          /** Members who are in it whatever their certificate says, and those who are not (core/groups.ts). */
          added: Type.Array(Hex16, { maxItems: 100_000 }),
          removed: Type.Array(Hex16, { maxItems: 100_000 }),
        },
        { additionalProperties: false },
      ),
      { maxItems: 1_000 },
    ),
    /** Digests of the keys that authenticate DHT packets (crypto/network-key.ts): the first is in force, the others are accepted still. */
    networkKeys: Type.Array(Hex32, { minItems: 1, maxItems: 4 }),
    /** Members and invites that are refused, whatever their certificates say. */
    revoked: Type.Array(Hex16, { maxItems: 100_000 }),
    /** Each other site once. */
    federation: Type.Array(Agreement, { maxItems: 64 }),
    /** How many copies of images of this site there are to be: the first rule with a pattern of a name counts; without one, each server that may hold it does. */
    placement: Type.Array(
      Type.Object(
        {
          names: NamePatterns,
          copies: Type.Integer({ minimum: 1, maximum: 1_000 }),
          /** On so many sites at least. */
          sites: Type.Integer({ minimum: 1, maximum: 64 }),
          /** Servers that hold them in any case, and those that never do. */
          pins: Type.Array(Hex16, { maxItems: 1_000 }),
          refuse: Type.Array(Hex16, { maxItems: 1_000 }),
        },
        { additionalProperties: false },
      ),
      { maxItems: 64 },
    ),
    /** Of this site's servers: shares of the copies beside others, where they are not 1. */
    weights: Type.Array(
      Type.Object({ memberId: Hex16, weight: Type.Number({ minimum: 0.001, maximum: 1_000_000 }) }, { additionalProperties: false }),
      {
        maxItems: 1_000,
      },
    ),
    /** How many versions of an image stay in use when a new one is published: the first rule with a pattern of its name counts. */
    retention: Type.Array(
      Type.Object({ names: NamePatterns, keepLast: Type.Integer({ minimum: 1, maximum: 10_000 }) }, { additionalProperties: false }),
      {
        maxItems: 64,
      },
    ),
  },
  { additionalProperties: false },
)
export type SiteDocument = Static<typeof SiteDocument>

const manifestShape = reader(Manifest, "MANIFEST_INVALID", "manifest")
const grantsShape = reader(Grants, "MANIFEST_INVALID", "grants")
const tagsShape = reader(Tags, "MANIFEST_INVALID", "tags")
const siteShape = reader(SiteDocument, "CATALOG_INVALID", "site document")

/** @throws {GridError} CATALOG_INVALID, NAME_INVALID */
export function readSiteDocument(value: unknown): SiteDocument {
  const document = siteShape(value)
  const sites = document.federation.map(({ site }) => site)
  if (new Set([...sites, document.site]).size !== sites.length + 1)
    throw new GridError("CATALOG_INVALID", "the site document names a site twice, or itself, in its federation")
  const patterns = [
    ...document.federation.flatMap(({ shares, mirrors }) => [...shares, ...mirrors]),
    ...[...document.retention, ...document.placement].flatMap(({ names }) => names),
  ]
  for (const pattern of patterns) namePattern(pattern)
  return document
}

/** @throws {GridError} MANIFEST_INVALID, NAME_INVALID */
export function readManifest(value: unknown): Manifest {
  const manifest = manifestShape(value)
  imageName(manifest.name)
  imageVersion(manifest.version)
  requireLineage(manifest)
  requireAttachments(manifest)
  return manifest
}

/** @throws {GridError} MANIFEST_INVALID, NAME_INVALID */
export function readGrants(value: unknown): Grants {
  const grants = grantsShape(value)
  imageName(grants.name)
  imageVersion(grants.version)
  return grants
}

/** @throws {GridError} MANIFEST_INVALID, NAME_INVALID */
export function readTags(value: unknown): Tags {
  const document = tagsShape(value)
  imageName(document.name)
  const names = document.tags.map(({ tag, version }) => {
    imageVersion(version)
    return imageVersion(tag)
  })
  if (new Set(names).size !== names.length) throw new GridError("MANIFEST_INVALID", `the tags of ${document.name} list one tag twice`)
  return document
}

/**
 * Reads what a publisher signed for this target path.
 * @throws {GridError} MANIFEST_INVALID, also for a document that belongs at another path; NAME_INVALID
 */
export function readImageDocument(path: string, value: unknown): ImageDocument {
  const document = path.startsWith("images/") ? readManifest(value) : path.startsWith("tags/") ? readTags(value) : readGrants(value)
  const own = pathOf(document)
  if (own !== path) throw new GridError("MANIFEST_INVALID", `the document at ${path} belongs at ${own}`)
  return document
}

/** The target path at which a document of a publisher stands. */
export function pathOf(document: ImageDocument): string {
  if (document.format === "imagegrid-tags-1") return targetPath.tags(document.name as ImageName)
  return document.format === "imagegrid-manifest-1" ? targetPath.manifest(refOf(document)) : targetPath.grants(refOf(document))
}

/** The one layer of this kind; of a `full` one, whichever version it is of. */
export function layerOf(manifest: Manifest, kind: "full" | "index"): Layer {
  const layers = manifest.layers.filter((layer) => layer.kind === kind)
  if (layers.length !== 1 || layers[0] === undefined)
    throw new GridError("MANIFEST_INVALID", `expected one ${kind} layer, found ${layers.length}`)
  return layers[0]
}

/** One index, of its own; one full layer; and a delta for each step of the lineage. */
function requireLineage(manifest: Manifest): void {
  const refuse = (why: string): never => {
    throw new GridError("MANIFEST_INVALID", `${manifest.name}:${manifest.version} ${why}`)
  }
  const versions = [...(manifest.lineage?.versions ?? []).map(({ version }) => version), manifest.version]
  versions.forEach(imageVersion)
  if (new Set(versions).size !== versions.length) refuse("names a version twice in its lineage")
  const ofVersion = ({ version = manifest.version }: Layer) => versions.indexOf(version)
  if (manifest.layers.some((layer) => ofVersion(layer) < 0)) refuse("has a layer of a version that is not in its lineage")
  if (layerOf(manifest, "index").version !== undefined) refuse("has no index of its own")
  layerOf(manifest, "full")
  const deltas = manifest.layers.filter(({ kind }) => kind === "delta").map(ofVersion)
  if (deltas.length !== versions.length - 1 || deltas.some((at, number) => at !== number + 1))
    refuse("has not one delta for each step of its lineage, in order")
}

/** Small trees beside the image's, each of this version: overrides in the order in which they are laid, one boot payload and one set of scripts at most. */
function requireAttachments(manifest: Manifest): void {
  const refuse = (why: string): never => {
    throw new GridError("MANIFEST_INVALID", `${manifest.name}:${manifest.version} ${why}`)
  }
  const attachments = manifest.layers.filter(({ kind }) => isAttachment(kind))
  for (const { kind, version, appliesTo, contentBytes } of attachments) {
    if (version !== undefined || (appliesTo === undefined) === (kind === "override")) refuse(`has a layer ${kind} that is out of form`)
    if (contentBytes > ATTACHMENT_BYTES_MAX) refuse(`has a layer ${kind} of ${contentBytes} bytes, ${ATTACHMENT_BYTES_MAX} are taken`)
  }
  if (manifest.layers.some(({ kind, appliesTo }) => kind !== "override" && appliesTo !== undefined))
    refuse("names hosts for a layer that is for all")
  for (const kind of ["boot", "scripts"] as const)
    if (attachments.filter((layer) => layer.kind === kind).length > 1) refuse(`has more than one layer ${kind}`)
  const overrides = attachments.flatMap(({ appliesTo }) => appliesTo ?? [])
  if (overrides.length > OVERRIDES_MAX) refuse(`has ${overrides.length} overrides, ${OVERRIDES_MAX} are taken`)
  for (const appliesTo of overrides) if ("hosts" in appliesTo) hostPattern(appliesTo.hosts)
  const inOrder = overridesInOrder(overrides, (appliesTo) => appliesTo)
  if (new Set(overrides.map(formatAppliesTo)).size !== overrides.length) refuse("has two overrides for the same hosts")
  if (inOrder.some((appliesTo, at) => appliesTo !== overrides[at])) refuse("lists its overrides in another order than they are laid in")
}

/** Whether a layer is a small tree beside the image's own. */
export function isAttachment(kind: Layer["kind"]): kind is "override" | "boot" | "scripts" {
  return kind === "override" || kind === "boot" || kind === "scripts"
}

export function refOf(document: { readonly name: string; readonly version: string }): ImageRef {
  return { name: document.name as ImageName, version: document.version as ImageVersion }
}

/** Where each document stands among the TUF targets. */
export const targetPath = {
  site: "site.json",
  manifest: (ref: ImageRef) => `images/${ref.name}/${ref.version}.json`,
  grants: (ref: ImageRef) => `grants/${ref.name}/${ref.version}.json`,
  tags: (name: ImageName) => `tags/${name}.json`,
} as const
