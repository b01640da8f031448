/** The messages of BEP 3 and of the fast extension (BEP 6), as values. `Block` is whatever carries a block's bytes: the core never looks inside. */

/** A part of a piece: what one `request` asks for. */
export type BlockSpan = { readonly piece: number; readonly offset: number; readonly length: number }

export type Message<Block> =
  | { readonly type: "keep-alive" | "choke" | "unchoke" | "interested" | "not-interested" | "have-all" | "have-none" }
  | { readonly type: "have" | "suggest" | "allowed-fast"; readonly piece: number }
  | { readonly type: "bitfield"; readonly bits: Uint8Array }
  | ({ readonly type: "request" | "cancel" | "reject" } & BlockSpan)
  | ({ readonly type: "block"; readonly block: Block } & BlockSpan)

/** What is sent as a message; blocks go out as uploads. */
export type ControlMessage = Exclude<Message<never>, { type: "block" }>
