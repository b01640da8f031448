/**
 * Noise (XX) between holders of a key of the listening end's site. Before it begins both show that they hold such a key: the dialling end for each that it
 * holds, the listening one for the first of them that it takes. So while one network key replaces another, whoever holds either is let in; and to whoever
 * holds none, no end says who it is. All that was said, and the key, go into Noise's prologue: who changes any of it on the way ends the handshake.
 */
import { noise, type NoiseComponents } from "@libp2p/noise"
import type { ConnectionEncrypter, MessageStream } from "@libp2p/interface"
import { lpStream } from "@libp2p/utils"
import { randomBytes } from "node:crypto"
import { isPlaneProof, PLANE_PROOF_BYTES, planePrologue, planeProof } from "#crypto/plane-key.ts"
import { GridError } from "#core/errors.ts"

export const KEYED_NOISE = "/imagegrid/noise/1"
/** As many as a site names at a time. */
const KEYS_MAX = 4
const NONCE_BYTES = 32
const FRAME_BYTES_MAX = NONCE_BYTES + KEYS_MAX * PLANE_PROOF_BYTES

/** Plane keys, the one in force first. */
export type PlaneKeys = {
  /** Of the own site: one of them opens an inbound connection. */
  own(): readonly Uint8Array[]
  /** Of the site of the server that is dialled, by its peer id; none where no key of that site is held. */
  of(remotePeerId: string): readonly Uint8Array[]
}

export function keyedNoise(keys: PlaneKeys): (components: NoiseComponents) => ConnectionEncrypter {
  return (components) => ({
    protocol: KEYED_NOISE,

    async secureOutbound(connection, options) {
      const peer = options?.remotePeer?.toString()
      const held = peer === undefined ? [] : keys.of(peer).slice(0, KEYS_MAX)
      const frames = framesOf(connection)
      const theirNonce = await frames.read(options)
      if (theirNonce.length !== NONCE_BYTES) throw new GridError("PEER_MISBEHAVED", `a nonce of ${theirNonce.length} bytes`)
      const nonces = Buffer.concat([theirNonce.subarray(), randomBytes(NONCE_BYTES)])
      const proofs = Buffer.concat(held.map((key) => planeProof(key, "dialling", nonces)))
      await frames.write(Buffer.concat([nonces.subarray(NONCE_BYTES), proofs]), options)
      const answer = (await frames.read(options)).subarray()
      const key = held.find((one) => isPlaneProof(answer, one, "listening", Buffer.concat([nonces, proofs])))
      if (key === undefined)
        throw new GridError("KEY_MISSING", "whoever listens holds none of the network keys of its site that this server holds")
      const prologueBytes = planePrologue(key, Buffer.concat([nonces, proofs, answer]))
      return noise({ prologueBytes })(components).secureOutbound(frames.unwrap(), options)
    },

    async secureInbound(connection, options) {
      const frames = framesOf(connection)
      const ownNonce = randomBytes(NONCE_BYTES)
      await frames.write(ownNonce, options)
      const offer = (await frames.read(options)).subarray()
      const nonces = Buffer.concat([ownNonce, offer.subarray(0, NONCE_BYTES)])
      const proofs = offer.subarray(NONCE_BYTES)
      const held = keys.own().slice(0, KEYS_MAX)
      const key = proofsIn(proofs)
        .map((proof) => held.find((one) => isPlaneProof(proof, one, "dialling", nonces)))
        .find((one) => one !== undefined)
      if (key === undefined) throw new GridError("KEY_MISSING", "whoever dials holds no network key of this site")
      const answer = planeProof(key, "listening", Buffer.concat([nonces, proofs]))
      await frames.write(answer, options)
      const prologueBytes = planePrologue(key, Buffer.concat([nonces, proofs, answer]))
      return noise({ prologueBytes })(components).secureInbound(frames.unwrap(), options)
    },
  })
}

function framesOf(connection: MessageStream) {
  return lpStream(connection, { maxDataLength: FRAME_BYTES_MAX, maxBufferSize: 64 * 1024 })
}

function proofsIn(bytes: Uint8Array): Uint8Array[] {
  return Array.from({ length: Math.floor(bytes.length / PLANE_PROOF_BYTES) }, (_, at) =>
    bytes.subarray(at * PLANE_PROOF_BYTES, (at + 1) * PLANE_PROOF_BYTES),
  )
}
