/** The shapes of the servers' API, for both ends of it. Every route runs inside TLS 1.3 with both certificates checked. */
import { Type, type Static } from "typebox"
import { Base64, Digest, Hex16, Hex20, Hex32, Label, WholeNumber, WireAddress } from "./documents.ts"
import { reader } from "./schema.ts"

/** Largest body of a request or an answer, the catalog aside. */
export const API_BODY_BYTES_MAX = 256 * 1024
/** Largest catalog that is taken. */
export const CATALOG_BYTES_MAX = 64 * 1024 * 1024

export const routes = {
  health: "/healthz",
  readiness: "/readyz",
  description: "/openapi.json",
  metrics: "/metrics",
  status: "/v1/status",
  catalog: "/v1/catalog",
  catalogSeq: "/v1/catalog/seq",
  /** Of a federated site, as this server keeps it. */
  federatedCatalog: "/v1/catalogs/:site",
  join: "/v1/join",
  renew: "/v1/renew",
  servers: "/v1/servers",
  claims: "/v1/claims",
  publications: "/v1/publications",
  hints: "/v1/hints",
  reports: "/v1/reports",
  progress: "/v1/progress",
  deployments: "/v1/deployments",
  bundles: "/v1/bundles",
  proofs: "/v1/proofs",
  pieces: "/v1/pieces",
  grid: "/v1/grid",
  drain: "/v1/drain",
  planeKeys: "/v1/plane-keys",
  auditHead: "/v1/audit/head",
  auditSeen: "/v1/audit/seen",
} as const

export function federatedCatalogPath(site: string): string {
  return routes.federatedCatalog.replace(":site", site)
}

const strict = { additionalProperties: false } as const

/**
 * What a server says of itself, signed with its member key, so that any member can pass it on. The newest `seq` wins.
 * `signature` is Ed25519 over the JSON of the other fields in this order (member/server-record.ts).
 */
export const ServerRecord = Type.Object(
  {
    memberId: Hex16,
    /** Unix ms of the writing, and at least one more than the last. */
    seq: WholeNumber,
    api: WireAddress,
    swarm: WireAddress,
    dht: WireAddress,
    /** Of the control plane; null while it is not open. */
    grid: Type.Union([WireAddress, Type.Null()]),
    /** DER of the member certificate, base64. */
    certificate: Base64(4_000),
    /** Ed25519, base64. */
    signature: Base64(100),
  },
  strict,
)
export type ServerRecord = Static<typeof ServerRecord>

/** The keys of a machine that joins, or replaces its own; their secret halves never leave it. */
const MemberKeys = {
  /** Ed25519, raw, hex. */
  signingKey: Hex32,
  /** X25519, raw, hex. */
  sealingKey: Hex32,
}

export const JoinRequest = Type.Object(
  {
    ...MemberKeys,
    /** Ed25519 signature by `signingKey` over "imagegrid join\0", the invite's id and both keys: proves possession. base64. */
    proof: Base64(100),
    /** Unix ms on the joining machine, so that the server can tell it when its clock is wrong. */
    clockMs: WholeNumber,
  },
  strict,
)
export type JoinRequest = Static<typeof JoinRequest>

export const RenewRequest = Type.Object(
  {
    clockMs: WholeNumber,
    /** New keys in place of the caller's. `proof`: Ed25519 by the new `signingKey` over "imagegrid rekey\0", the old member id and both new keys. base64. */
    rekey: Type.Optional(Type.Object({ ...MemberKeys, proof: Base64(100) }, strict)),
  },
  strict,
)
export type RenewRequest = Static<typeof RenewRequest>

/** The answer to a join and to a renewal. */
export const MembershipAnswer = Type.Object(
  {
    /** DER of the member's certificate, base64. */
    certificate: Base64(4_000),
    /** `MemberSecrets`, sealed to the member's sealing key (crypto/sealed-box.ts), base64. */
    secrets: Base64(200_000),
    servers: Type.Array(ServerRecord, { maxItems: 1_000 }),
  },
  strict,
)
export type MembershipAnswer = Static<typeof MembershipAnswer>

/** Keys of groups, of all generations, that a member holds at most. */
export const GROUP_KEYS_MAX = 1_000
/** Keys of one kind that are kept; the oldest go first. */
export const ONLINE_KEYS_MAX = 16
const OnlineKeys = Type.Array(Hex32, { minItems: 1, maxItems: ONLINE_KEYS_MAX })

/** What is sealed inside a membership answer. */
export const MemberSecrets = Type.Object(
  {
    /** Secret halves of the keys of the groups that this member is in; all groups, for a server. X25519, hex. */
    groups: Type.Array(Type.Object({ name: Label, generation: Type.Integer({ minimum: 1 }), secretKey: Hex32 }, strict), {
      maxItems: GROUP_KEYS_MAX,
    }),
    /** Keys that authenticate DHT packets, 32 bytes each, hex, the newest first. */
    networkKeys: Type.Array(Hex32, { minItems: 1, maxItems: ONLINE_KEYS_MAX }),
    /**
     * For servers alone: the online keys with which any server of the site answers for it. Ed25519 seeds, hex, the newest first: which of them
     * is in force is what the catalog says, so a key can be held before it is named and while it is being replaced.
     */
    online: Type.Optional(
      Type.Object({ authorities: OnlineKeys, snapshot: OnlineKeys, timestamp: OnlineKeys, pointers: OnlineKeys }, strict),
    ),
  },
  strict,
)
export type MemberSecrets = Static<typeof MemberSecrets>
export type OnlineSecrets = NonNullable<MemberSecrets["online"]>

/** One server asks another: has this use of an invite been taken by someone else? Recorded before it is answered. */
export const ClaimRequest = Type.Object(
  { inviteId: Hex16, uses: Type.Integer({ minimum: 1, maximum: 100_000 }), memberId: Hex16, expiresAtMs: WholeNumber },
  strict,
)
export type ClaimRequest = Static<typeof ClaimRequest>
export const ClaimAnswer = Type.Object({ accepted: Type.Boolean() }, strict)

export const ServerList = Type.Object({ servers: Type.Array(ServerRecord, { maxItems: 1_000 }) }, strict)

/** "My catalog has this place in their order" (trust/catalog.ts `seq`), told or asked for: a hint, never trusted further than to go and look. */
export const Hint = Type.Object({ catalogSeq: WholeNumber }, strict)

/** A publisher's newly signed files: TUF metadata and targets by their path in the repository, base64. */
export const Publication = Type.Object({ files: Type.Record(Type.String({ maxLength: 300 }), Base64(8_000_000)) }, strict)
export type Publication = Static<typeof Publication>

export const ServerStatus = Type.Object(
  {
    memberId: Hex16,
    site: Label,
    catalogSeq: WholeNumber,
    catalogExpiresAtMs: WholeNumber,
    /** Layers that this server holds whole and seeds. */
    layers: Type.Array(Type.Object({ infohash: Hex20, sealedSha256: Digest, sealedBytes: WholeNumber }, strict), { maxItems: 100_000 }),
    /** How many entries its audit log has, and what does not hold in it; null when all does. */
    audit: Type.Object({ entries: WholeNumber, fault: Type.Union([Type.String({ maxLength: 2_000 }), Type.Null()]) }, strict),
    clockMs: WholeNumber,
    /** What of the site's signed metadata people should look after (trust/attention.ts). */
    attention: Type.Array(
      Type.Object(
        {
          about: Type.String({ maxLength: 100 }),
          code: Type.String({ maxLength: 40 }),
          detail: Type.String({ maxLength: 1_000 }),
          atMs: Type.Union([WholeNumber, Type.Null()]),
        },
        strict,
      ),
      { maxItems: 1_000 },
    ),
  },
  strict,
)
export type ServerStatus = Static<typeof ServerStatus>

const progressFields = {
  /** Chosen by the client for one run. */
  deployment: Hex16,
  /** `SITE/NAME:VERSION`, or `NAME:VERSION` of the own site. */
  image: Type.String({ pattern: "^[a-z0-9][a-z0-9._/-]{0,191}:[a-z0-9][a-z0-9._-]{0,63}$" }),
  /** By the client's own word, as the rest. */
  host: Type.String({ pattern: "^[a-zA-Z0-9][a-zA-Z0-9.-]{0,252}$" }),
  phase: Type.Union([
    Type.Literal("download"),
    Type.Literal("unpack"),
    Type.Literal("verify"),
    Type.Literal("good"),
    Type.Literal("seed"),
    Type.Literal("left"),
    Type.Literal("failed"),
  ]),
  /** Since it began. */
  elapsedMs: WholeNumber,
  /** From its start to the tree that was verified; null before. */
  goodAfterMs: Type.Union([WholeNumber, Type.Null()]),
  /** Of the phase. */
  bytes: WholeNumber,
  totalBytes: WholeNumber,
  /** Of all layers together, so far. */
  fromServersBytes: WholeNumber,
  fromClientsBytes: WholeNumber,
  sentBytes: WholeNumber,
  peers: Type.Integer({ minimum: 0, maximum: 1_000_000 }),
  /** Where it failed: the code of the refusal, or INTERNAL. */
  code: Type.Optional(Type.String({ pattern: "^[A-Z_]{1,64}$" })),
}
/** What a client says of a deploy or update while it goes on. */
export const DeployProgress = Type.Object(progressFields, strict)
export type DeployProgress = Static<typeof DeployProgress>
/** When to say more; the server asks for less the more clients there are. */
export const ProgressAnswer = Type.Object({ nextInMs: Type.Integer({ minimum: 1_000, maximum: 600_000 }) }, strict)
export const readProgressAnswer = reader(ProgressAnswer, "REQUEST_INVALID", "answer to a report")
/** As a server heard it. `silent`: nothing came for long. `lost`: for so long that nothing is expected. */
export const Deployment = Type.Object(
  {
    ...progressFields,
    memberId: Hex16,
    state: Type.Union([
      Type.Literal("running"),
      Type.Literal("silent"),
      Type.Literal("good"),
      Type.Literal("failed"),
      Type.Literal("lost"),
    ]),
    startedAtMs: WholeNumber,
    heardAtMs: WholeNumber,
    downloadBytesPerSecond: WholeNumber,
    uploadBytesPerSecond: WholeNumber,
  },
  strict,
)
export type Deployment = Static<typeof Deployment>
export const DEPLOYMENTS_SHOWN_MAX = 20_000
/** The newest first. */
export const Deployments = Type.Object({ deployments: Type.Array(Deployment, { maxItems: DEPLOYMENTS_SHOWN_MAX }) }, strict)
export type Deployments = Static<typeof Deployments>
export const readDeployment = reader(Deployment, "STATE_DAMAGED", "deployment")
export const readDeployments = reader(Deployments, "REQUEST_INVALID", "deployments")

/** Whether a server lives, or can serve, by what was looked at (nodes/health.ts). */
export const Health = Type.Object(
  {
    ok: Type.Boolean(),
    checks: Type.Array(
      Type.Object({ name: Type.String({ maxLength: 40 }), ok: Type.Boolean(), detail: Type.String({ maxLength: 1_000 }) }, strict),
      { maxItems: 40 },
    ),
  },
  strict,
)
export type Health = Static<typeof Health>

/** A client says how a deploy ended. Its word alone, and written down as such. */
export const DeployReport = Type.Object(
  {
    event: Type.Union([Type.Literal("deployed"), Type.Literal("failed")]),
    /** `NAME:VERSION`. */
    image: Type.String({ pattern: "^[a-z0-9][a-z0-9._/-]{0,191}:[a-z0-9][a-z0-9._-]{0,63}$" }),
    tookMs: WholeNumber,
    /** Sealed bytes of the image, and how many of them came from whom; absent where it did not get so far. */
    bytes: Type.Optional(WholeNumber),
    fromServers: Type.Optional(WholeNumber),
    fromClients: Type.Optional(WholeNumber),
    /** Of a failure: the code of the refusal, or INTERNAL. */
    code: Type.Optional(Type.String({ pattern: "^[A-Z_]{1,64}$" })),
  },
  strict,
)
export type DeployReport = Static<typeof DeployReport>

/** How long a server's audit log is and what its last line hashes to, signed with its member key (nodes/audit-heads.ts). */
export const AuditHead = Type.Object(
  {
    memberId: Hex16,
    /** Number of the last entry, 0 for none, and SHA-256 of its line. */
    seq: WholeNumber,
    hash: Hex32,
    /** Unix ms of the signing. */
    atMs: WholeNumber,
    /** Ed25519, base64. */
    signature: Base64(100),
  },
  strict,
)
export type AuditHead = Static<typeof AuditHead>

/** Heads of one fellow that are told of at once; more are not kept (nodes/state.ts). */
export const AUDIT_HEADS_MAX = 10_000
/** What a server saw of the caller's audit log, the oldest first. */
export const AuditHeads = Type.Object({ heads: Type.Array(AuditHead, { maxItems: AUDIT_HEADS_MAX }) }, strict)

/** The command of a server's own home has unpacked a bundle, into this directory below `importing/`. */
export const BundleRequest = Type.Object({ directory: Type.String({ pattern: "^work-[A-Za-z0-9]{6}$" }) }, strict)
/** What was taken of it, images as `[SITE/]NAME:VERSION`, and what was not. */
export const BundleTaken = Type.Object(
  {
    images: Type.Array(Type.String({ maxLength: 300 }), { maxItems: 100_000 }),
    passedOver: Type.Array(Type.Object({ image: Type.String({ maxLength: 300 }), why: Type.String({ maxLength: 1_000 }) }, strict), {
      maxItems: 100_000,
    }),
    newerCatalogs: Type.Array(Label, { maxItems: 100 }),
  },
  strict,
)
export type BundleTaken = Static<typeof BundleTaken>

const Bytes = Type.Union([WholeNumber, Type.Null()])
/** The grid as one server sees it. */
export const GridStatus = Type.Object(
  {
    memberId: Hex16,
    servers: Type.Array(
      Type.Object(
        {
          memberId: Hex16,
          site: Label,
          weight: Type.Number(),
          /** `suspect`: silent for a moment. `out`: for so long that others take over what it held. */
          standing: Type.Union([Type.Literal("live"), Type.Literal("suspect"), Type.Literal("out")]),
          /** By their own word; null before that is known. */
          phase: Type.Union([Type.Literal("serving"), Type.Literal("draining"), Type.Null()]),
          isFull: Type.Boolean(),
          heldBytes: Bytes,
          freeBytes: Bytes,
        },
        strict,
      ),
      { maxItems: 10_000 },
    ),
    /** Placed images, and how many of them are under their goal. */
    images: WholeNumber,
    underGoal: WholeNumber,
    /** Of those, the ones with one live copy or none; bounded. */
    atRisk: Type.Array(Type.Object({ image: Type.String({ maxLength: 300 }), liveCopies: WholeNumber, sources: WholeNumber }, strict), {
      maxItems: 1_000,
    }),
    /** Of this server: placed images that it holds, fetches now, would fetch, and has beyond the goal. */
    held: WholeNumber,
    fetching: Type.Array(Type.String({ maxLength: 300 }), { maxItems: 1_000 }),
    wanted: WholeNumber,
    surplus: WholeNumber,
    /** Servers that failed this one's audits. */
    doubted: Type.Array(Hex16, { maxItems: 10_000 }),
    /** So many servers are out that nothing is repaired by itself. */
    isRepairHeld: Type.Boolean(),
    draining: Type.Boolean(),
    /** While it drains: whether it may leave. */
    drained: Type.Boolean(),
  },
  strict,
)
export type GridStatus = Static<typeof GridStatus>
export const DrainRequest = Type.Object({ draining: Type.Boolean() }, strict)

/** Keys that open the control plane of a site to servers of another (crypto/plane-key.ts), the one in force first. */
export const PlaneKeys = Type.Object({ keys: Type.Array(Hex32, { minItems: 1, maxItems: 4 }) }, strict)

/** Pieces that one proof is over. */
export const PROOF_PIECES_MAX = 8
/** One server asks another to show that it holds a layer (nodes/proof.ts). */
export const ProofRequest = Type.Object(
  {
    infohash: Hex20,
    /** Chosen anew for each request. */
    nonce: Hex32,
    pieces: Type.Array(WholeNumber, { minItems: 1, maxItems: PROOF_PIECES_MAX }),
  },
  strict,
)
export type ProofRequest = Static<typeof ProofRequest>
/** SHA-256 over "imagegrid proof\0", the nonce and the infohash as text, and of each piece its number as text, a zero byte and its bytes. */
export const ProofAnswer = Type.Object({ digest: Hex32 }, strict)

/** One server asks another for a piece of a layer, as bytes, to see by its digest whether it holds it (nodes/proof.ts). */
export const PieceRequest = Type.Object({ infohash: Hex20, piece: WholeNumber }, strict)
export type PieceRequest = Static<typeof PieceRequest>

/** Every refusal of the API: a code of core/errors.ts and a sentence. */
export const Refusal = Type.Object({ code: Type.String({ maxLength: 64 }), detail: Type.String({ maxLength: 2_000 }) }, strict)

export const readMembershipAnswer = reader(MembershipAnswer, "REQUEST_INVALID", "join answer")
export const readMemberSecrets = reader(MemberSecrets, "REQUEST_INVALID", "member secrets")
export const readCatalogSeq = reader(Hint, "REQUEST_INVALID", "catalog seq")
export const readClaimAnswer = reader(ClaimAnswer, "REQUEST_INVALID", "claim answer")
export const readServerList = reader(ServerList, "REQUEST_INVALID", "server list")
export const readServerStatus = reader(ServerStatus, "REQUEST_INVALID", "server status")
export const readGridStatus = reader(GridStatus, "REQUEST_INVALID", "status of the grid")
export const readPlaneKeys = reader(PlaneKeys, "REQUEST_INVALID", "plane keys")
export const readProofAnswer = reader(ProofAnswer, "REQUEST_INVALID", "proof")
export const readBundleTaken = reader(BundleTaken, "REQUEST_INVALID", "answer to an import")
export const readAuditHead = reader(AuditHead, "REQUEST_INVALID", "audit head")
export const readAuditHeads = reader(AuditHeads, "REQUEST_INVALID", "audit heads")
export const readRefusal = reader(Refusal, "REQUEST_INVALID", "refusal")
