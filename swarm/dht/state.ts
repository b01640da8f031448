/** What of a DHT node outlives its process: plain JSON, kept by the caller. */
import { Type, type Static } from "typebox"
import { Hex20, Hex32, WholeNumber } from "#core/documents.ts"
import { reader } from "#core/schema.ts"
import { restorePointer, SALT_MAX_BYTES, type PointerItem } from "./pointer.ts"

export const STATE_NODES_MAX = 2_000
const STATE_POINTERS_MAX = 1_000

const strict = { additionalProperties: false } as const

export const DhtState = Type.Object(
  {
    /** Own place in the network, hex. */
    nodeId: Type.String({ pattern: "^[0-9a-f]{40}$" }),
    /** Addresses of other nodes, likeliest first. */
    nodes: Type.Array(
      Type.Object({ host: Type.String({ minLength: 1, maxLength: 253 }), port: Type.Integer({ minimum: 1, maximum: 65_535 }) }, strict),
      { maxItems: STATE_NODES_MAX },
    ),
    /** Items held and re-put. Signatures are verified when the state is opened; what fails is dropped. */
    pointers: Type.Array(
      Type.Object(
        {
          publicKey: Hex32,
          salt: Type.String({ pattern: `^([0-9a-f]{2}){1,${SALT_MAX_BYTES}}$` }),
          seq: WholeNumber,
          signature: Type.String({ pattern: "^[0-9a-f]{128}$" }),
          infohash: Hex20,
        },
        strict,
      ),
      { maxItems: STATE_POINTERS_MAX },
    ),
  },
  strict,
)
export type DhtState = Static<typeof DhtState>

/**
 * A state that was saved as JSON.
 * @throws {GridError} STATE_DAMAGED
 */
export const readDhtState = reader(DhtState, "STATE_DAMAGED", "DHT state")

/** The saved pointer of this key and salt; null when there is none whose signature holds. */
export function pointerIn(state: DhtState, publicKeyHex: string, salt: string): PointerItem | null {
  const saltHex = Buffer.from(salt).toString("hex")
  const saved = state.pointers.find((pointer) => pointer.publicKey === publicKeyHex && pointer.salt === saltHex)
  return saved === undefined ? null : restorePointer(saved)
}
