/** What happens to a torrent, and what is to be done about it. */
import type { Address } from "#core/address.ts"
import type { SiteMember } from "./gateways.ts"
import type { BlockSpan, ControlMessage, Message } from "./messages.ts"

/** A connection's number, given by the shell and never used twice. */
export type PeerNumber = number

export type PeerRole = "server" | "client"

/** Where an address is: at the own site or at another, as far as anyone said. */
export type Whereabouts = "near" | "far" | "unknown"

/**
 * What members of one site tell one another. `members`: null when there is nothing new; `crossing`: pieces that the teller itself fetches from other sites now; `budgetBytesPerSecond`: what it
 * was told that all members together may send to other sites, null when nothing.
 */
export type SiteNews = {
  readonly members: readonly SiteMember[] | null
  readonly crossing: readonly number[]
  readonly budgetBytesPerSecond: number | null
}

export type CoreEvent<Block> =
  /** Both handshakes are done. `key` is the member's id; `dialled` the address, when we dialled. */
  | {
      readonly kind: "connected"
      readonly peer: PeerNumber
      readonly key: string
      readonly role: PeerRole
      readonly site: string
      readonly dialled: Address | null
    }
  /** The extension handshake (BEP 10) came. `listen` is where the peer can be dialled. */
  | {
      readonly kind: "introduced"
      readonly peer: PeerNumber
      readonly listen: Address | null
      readonly exchangesPeers: boolean
      /** It takes word of pieces that are held no more (BEP 54). */
      readonly takesDontHave: boolean
      readonly requestQueueLimit: number
    }
  | { readonly kind: "message"; readonly peer: PeerNumber; readonly message: Message<Block> }
  /** The peer holds the piece no more (BEP 54). */
  | { readonly kind: "dont-have"; readonly peer: PeerNumber; readonly piece: number }
  /** The peer broke the protocol below the level of these messages. */
  | { readonly kind: "violated"; readonly peer: PeerNumber; readonly detail: string }
  /** Addresses from a peer (BEP 11), or from elsewhere when `from` is null; `given` ones are dialled before others. */
  | {
      readonly kind: "addresses"
      readonly from: PeerNumber | null
      readonly given: boolean
      /** Unknown without it. */
      readonly where?: Whereabouts
      readonly addresses: readonly Address[]
    }
  | { readonly kind: "site-news"; readonly peer: PeerNumber; readonly news: SiteNews }
  /** One `upload` effect is with the operating system now. */
  | { readonly kind: "uploaded"; readonly peer: PeerNumber; readonly bytes: number }
  /** The piece matched its digest and can be read. `wrongBlocks`: positions in the piece that differed in an earlier, corrupt attempt. */
  | { readonly kind: "piece-stored"; readonly piece: number; readonly wrongBlocks: readonly number[] }
  | { readonly kind: "piece-corrupt"; readonly piece: number }
  /** The store takes no more: what is held is still served. */
  | { readonly kind: "store-failed"; readonly piece: number }
  | { readonly kind: "dial-failed"; readonly address: Address }
  | { readonly kind: "window"; readonly firstPiece: number }
  | { readonly kind: "gone"; readonly peer: PeerNumber }
  | { readonly kind: "tick" }

export type DisconnectReason =
  /** Broke the protocol. */
  | "misbehaved"
  /** Sent data that fails its digest. */
  | "corrupt"
  | "banned"
  | "silent"
  /** Leaves what we send unread. */
  | "unread"
  /** Neither needs anything from the other. */
  | "both-complete"
  /** Others need the place more. */
  | "full"
  /** Others of the own site fetch from there. */
  | "far"

export type CoreEffect<Block> =
  | { readonly kind: "send"; readonly peer: PeerNumber; readonly message: ControlMessage }
  /** To be answered with `uploaded`. */
  | { readonly kind: "upload"; readonly peer: PeerNumber; readonly blocks: readonly BlockSpan[] }
  | { readonly kind: "keep-block"; readonly piece: number; readonly offset: number; readonly block: Block }
  /** All blocks of the piece are kept: to be answered with `piece-stored`, `piece-corrupt` or `store-failed`. */
  | { readonly kind: "verify"; readonly piece: number }
  /** The blocks kept of this piece are given up. */
  | { readonly kind: "drop-piece"; readonly piece: number }
  /** The piece is held no more, and its room is needed. */
  | { readonly kind: "forget-piece"; readonly piece: number }
  | { readonly kind: "dont-have"; readonly peer: PeerNumber; readonly piece: number }
  /** `near`: of the peer's own site. */
  | {
      readonly kind: "exchange-peers"
      readonly peer: PeerNumber
      readonly near: readonly Address[]
      readonly far: readonly Address[]
      readonly dropped: readonly Address[]
    }
  | { readonly kind: "tell-site"; readonly peer: PeerNumber; readonly news: SiteNews }
  | { readonly kind: "disconnect"; readonly peer: PeerNumber; readonly reason: DisconnectReason; readonly detail: string }
  /** To be answered with `connected` or `dial-failed`. */
  | { readonly kind: "dial"; readonly address: Address }
