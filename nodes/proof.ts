/**
 * How a server shows another that it holds a layer. Who has the layer too asks for a digest over a few pieces and a number that nobody knew before, and compares. Who
 * has not asks for one piece, and looks at its digest in the torrent. A few pieces of many find a server that has lost half of them; who has lost one byte of one hardly ever.
 *
 * Nobody vouches with bytes that are bad: what is read here is compared with its digest first, so that a server whose disk fails accuses itself and nobody else.
 */
import { createHash, randomBytes, randomInt } from "node:crypto"
import type { Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import { isPieceGood, pieceBytesAt, type Torrent } from "#core/torrent.ts"
import { readProofAnswer, routes, type PieceRequest, type ProofRequest } from "#core/wire.ts"
import type { Member } from "#member/member.ts"
import type { LayerStore } from "#store/layer-store.ts"

/** Pieces that are asked for of each layer. */
const PIECES_ASKED = 4
const TIMEOUT_MS = 30_000

/** `passed`: it has them. `failed`: it answered, and has not. `unanswered`: it could not be reached, or not in time. */
export type AuditOutcome = "passed" | "failed" | "unanswered"
type Audited = { readonly api: Address; readonly site: string }

/**
 * @throws {GridError} LAYER_MISSING when the layer is not whole here; REQUEST_INVALID for pieces that it does not have; DIGEST_MISMATCH when a piece of it is bad here
 */
export async function proofOf(layers: LayerStore, { infohash, nonce, pieces }: ProofRequest): Promise<string> {
  const torrent = await wholeTorrent(layers, infohash)
  const hash = createHash("sha256").update("imagegrid proof\0").update(nonce).update(infohash)
  for (const piece of pieces) hash.update(`${piece}\0`).update(await goodPiece(layers, torrent, piece))
  return hash.digest("hex")
}

/** The bytes of one piece. @throws as `proofOf` */
export async function pieceOf(layers: LayerStore, { infohash, piece }: PieceRequest): Promise<Buffer> {
  return goodPiece(layers, await wholeTorrent(layers, infohash), piece)
}

/**
 * Asks a server of any site about one layer, which must be whole here.
 * @throws {GridError} LAYER_MISSING when it is not whole here; DIGEST_MISMATCH when it is bad here
 */
export async function auditLayer(
  member: Pick<Member, "api">,
  layers: LayerStore,
  server: Audited,
  infohash: Infohash,
): Promise<AuditOutcome> {
  const torrent = await wholeTorrent(layers, infohash)
  const pieces = Array.from({ length: Math.min(PIECES_ASKED, torrent.pieceCount) }, () => randomInt(torrent.pieceCount))
  const body: ProofRequest = { infohash, nonce: randomBytes(32).toString("hex"), pieces }
  const expected = await proofOf(layers, body)
  return judged(async () => {
    const request = { method: "POST", path: routes.proofs, body, timeoutMs: TIMEOUT_MS, site: server.site } as const
    const { digest } = await member.api.json(server.api, request, readProofAnswer)
    return digest === expected
  })
}

/** The same of a layer that is not held here, by one piece of it. */
export async function auditLayerByPiece(member: Pick<Member, "api">, server: Audited, torrent: Torrent): Promise<AuditOutcome> {
  const body: PieceRequest = { infohash: torrent.infohash, piece: randomInt(torrent.pieceCount) }
  const maxBytes = pieceBytesAt(torrent, body.piece)
  return judged(async () => {
    const request = { method: "POST", path: routes.pieces, body, maxBytes, timeoutMs: TIMEOUT_MS, site: server.site } as const
    return isPieceGood(torrent, body.piece, await member.api.bytes(server.api, request))
  })
}

async function judged(isShown: () => Promise<boolean>): Promise<AuditOutcome> {
  try {
    return (await isShown()) ? "passed" : "failed"
  } catch (error) {
    return error instanceof GridError && error.code === "LAYER_MISSING" ? "failed" : "unanswered"
  }
}

async function wholeTorrent(layers: LayerStore, infohash: Infohash): Promise<Torrent> {
  const torrent = (await layers.isWhole(infohash)) ? await layers.torrent(infohash) : null
  if (torrent === null) throw new GridError("LAYER_MISSING", `${infohash} is not whole here`)
  return torrent
}

async function goodPiece(layers: LayerStore, torrent: Torrent, piece: number): Promise<Buffer> {
  if (piece >= torrent.pieceCount) throw new GridError("REQUEST_INVALID", `piece ${piece} of ${torrent.pieceCount}`)
  const bytes = Buffer.allocUnsafe(pieceBytesAt(torrent, piece))
  const store = await layers.pieces(torrent)
  await store.read(piece * torrent.pieceBytes, bytes.length, bytes)
  if (!isPieceGood(torrent, piece, bytes)) throw new GridError("DIGEST_MISMATCH", `piece ${piece} of ${torrent.infohash} is bad here`)
  return bytes
}
