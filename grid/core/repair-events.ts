/** What happens to a server's copies and to those of its fellows, and what is to be done about it. The unit is the image version: all of its layers, or nothing. */
import type { MemberId } from "#core/identifiers.ts"
import type { Goal, RosterServer } from "./placement.ts"

/** `SITE/NAME:VERSION`. */
export type ImageId = string

export type ImageUnit = {
  readonly image: ImageId
  /** Of all its layers together. */
  readonly sealedBytes: number
  readonly goal: Goal
}

/** What a server says of itself in its signed `state` document, as far as others decide by it. */
export type ServerState = {
  /** Draining: it serves what it has, but its copies do not count and it takes no more. */
  readonly phase: "serving" | "draining"
  /** It takes no more; what it has counts. */
  readonly isFull: boolean
  /** Servers that failed its audits and have not passed since. To others a reason to audit, no more. */
  readonly doubts: readonly MemberId[]
}

export type AuditOutcome =
  /** Random pieces of every layer came and matched. */
  | "passed"
  /** It has the image and is draining: nobody may lean on its copy. */
  | "leaving"
  /** It answered, and lacked a piece that it says it has or sent a wrong one. */
  | "failed"
  /** It could not be reached or did not answer in time. */
  | "unanswered"
  /** It could not be judged here; says nothing of it. */
  | "unjudged"

export type RepairEvent =
  /** The signed roster, at the start and whenever it changes. `holdings`, `heard` and `silent` of servers that are not in it are passed over. */
  | { readonly kind: "roster"; readonly servers: readonly RosterServer[] }
  /** Images in force: new ones, those whose goal changed, and those that were retired. Before any `holdings` that names them. */
  | { readonly kind: "images"; readonly added: readonly ImageUnit[]; readonly retired: readonly ImageId[] }
  /** The plane is connected to the server, and its newest documents were taken from it and told here before this. */
  | { readonly kind: "heard"; readonly server: MemberId }
  /** The connection is gone; `sinceMs` is when the server was last heard. Told again when another heard it later. */
  | { readonly kind: "silent"; readonly server: MemberId; readonly sinceMs: number }
  /** Its newest documents against those before: images of which it now has every layer, and those of which it no longer has. Empty lists for the first ones of an empty server. */
  | { readonly kind: "holdings"; readonly server: MemberId; readonly added: readonly ImageId[]; readonly removed: readonly ImageId[] }
  | { readonly kind: "state"; readonly server: MemberId; readonly state: ServerState }
  /** What the own store holds whole and verified, at the start and where it changes by other hands than this core's. */
  | { readonly kind: "own"; readonly added: readonly ImageId[]; readonly removed: readonly ImageId[] }
  /** `roomBytes`: what may still be taken, of the disk and of the quota. The core takes off and adds what it fetches and drops itself until it is told anew. */
  | { readonly kind: "space"; readonly roomBytes: number }
  /** All images that running deploys or exports here read: not dropped. */
  | { readonly kind: "in-use"; readonly images: readonly ImageId[] }
  | { readonly kind: "drain"; readonly draining: boolean }
  | { readonly kind: "fetched"; readonly image: ImageId }
  | { readonly kind: "fetch-failed"; readonly image: ImageId }
  | { readonly kind: "audited"; readonly image: ImageId; readonly server: MemberId; readonly outcome: AuditOutcome }
  /** The time that `wakeAtMs` gave has come. */
  | { readonly kind: "tick" }

export type RepairEffect =
  /** To be answered with `fetched` or `fetch-failed`, unless cancelled. `balance`: the goal is met without it. */
  | { readonly kind: "fetch"; readonly image: ImageId; readonly why: "goal" | "balance" }
  | { readonly kind: "cancel"; readonly image: ImageId }
  /** Done when it is given: the core counts the copy no more. */
  | { readonly kind: "drop"; readonly image: ImageId; readonly why: "surplus" | "retired" }
  /** Random pieces of each layer are to be asked for; always answered with `audited`, after a time that the shell bounds. */
  | { readonly kind: "audit"; readonly image: ImageId; readonly server: MemberId }
  /** To be signed and published. */
  | { readonly kind: "publish-state"; readonly state: ServerState }
  /** While draining: each image here has met its goal elsewhere. */
  | { readonly kind: "drained" }

export type ImageAtRisk = {
  readonly image: ImageId
  /** Copies that count: at servers heard within the last minute that neither leave nor are refused. */
  readonly liveCopies: number
  /** Live servers that hold it, those that leave counted too. */
  readonly sources: number
}

export type RepairStatus = {
  readonly images: number
  readonly held: number
  readonly underGoal: number
  /** Of those under their goal, the ones with one live copy or none; bounded. */
  readonly atRisk: readonly ImageAtRisk[]
  readonly wanted: number
  readonly fetching: readonly ImageId[]
  /** More copies than wanted, of which this server's may go. */
  readonly surplus: number
  readonly out: readonly MemberId[]
  readonly suspect: readonly MemberId[]
  readonly doubted: readonly MemberId[]
  /** So many servers are out that nothing is repaired by itself. */
  readonly isRepairHeld: boolean
  readonly isFull: boolean
}
