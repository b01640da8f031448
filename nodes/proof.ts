/**
 * How a server shows another that it holds a layer: a digest over pieces that the other one chooses, with a number that nobody knew before. Who asks
 * has the layer too, and compares. A few pieces of many find a server that has lost half of them; who has lost one byte of one hardly ever.
 */
import { createHash, randomBytes, randomInt } from "node:crypto"
import type { Address } from "#core/address.ts"
import { GridError } from "#core/errors.ts"
import type { Infohash } from "#core/identifiers.ts"
import { pieceBytesAt, type Torrent } from "#core/torrent.ts"
import { readProofAnswer, routes, type ProofRequest } from "#core/wire.ts"
import type { Member } from "#member/member.ts"
import type { LayerStore } from "#store/layer-store.ts"

/** Pieces that are asked for of each layer. */
const PIECES_ASKED = 4
const TIMEOUT_MS = 30_000

/** `passed`: it has them. `failed`: it answered, and has not. `unanswered`: it could not be reached, or not in time. */
export type AuditOutcome = "passed" | "failed" | "unanswered"

/** @throws {GridError} LAYER_MISSING when the layer is not whole here; REQUEST_INVALID for pieces that it does not have */
export async function proofOf(layers: LayerStore, { infohash, nonce, pieces }: ProofRequest): Promise<string> {
  const torrent = (await layers.isWhole(infohash)) ? await layers.torrent(infohash) : null
  if (torrent === null) throw new GridError("LAYER_MISSING", `${infohash} is not whole here`)
  for (const piece of pieces)
    if (piece >= torrent.pieceCount) throw new GridError("REQUEST_INVALID", `piece ${piece} of ${torrent.pieceCount}`)
  return digestOf(layers, torrent, nonce, pieces)
}

/**
 * Asks a server of any site about one layer, which must be whole here.
 * @throws {GridError} LAYER_MISSING when it is not whole here
 */
export async function auditLayer(
  member: Pick<Member, "api">,
  layers: LayerStore,
  server: { readonly api: Address; readonly site: string },
  infohash: Infohash,
): Promise<AuditOutcome> {
  const torrent = await layers.torrent(infohash)
  if (torrent === null) throw new GridError("LAYER_MISSING", `${infohash} is not whole here, so nobody can be audited for it`)
  const pieces = Array.from({ length: Math.min(PIECES_ASKED, torrent.pieceCount) }, () => randomInt(torrent.pieceCount))
  const body: ProofRequest = { infohash, nonce: randomBytes(32).toString("hex"), pieces }
  const expected = await proofOf(layers, body)
  try {
    const request = { method: "POST", path: routes.proofs, body, timeoutMs: TIMEOUT_MS, site: server.site } as const
    const { digest } = await member.api.json(server.api, request, readProofAnswer)
    return digest === expected ? "passed" : "failed"
  } catch (error) {
    if (error instanceof GridError && error.code === "LAYER_MISSING") return "failed"
    return "unanswered"
  }
}

async function digestOf(layers: LayerStore, torrent: Torrent, nonce: string, pieces: readonly number[]): Promise<string> {
  const store = await layers.pieces(torrent)
  const hash = createHash("sha256").update("imagegrid proof\0").update(nonce).update(torrent.infohash)
  for (const piece of pieces) {
    const length = pieceBytesAt(torrent, piece)
    const bytes = Buffer.allocUnsafe(length)
    await store.read(piece * torrent.pieceBytes, length, bytes)
    hash.update(`${piece}\0`).update(bytes)
  }
  return hash.digest("hex")
}
