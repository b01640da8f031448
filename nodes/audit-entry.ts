/**
 * One line of the audit log, and the chain that the lines are: each names the SHA-256 of the line before it, so that none can be changed,
 * moved, put in or taken out without that showing at the next one. Pure.
 */
import { createHash } from "node:crypto"
import { Type, type Static } from "typebox"
import type { CatalogFiles } from "#trust/catalog-file.ts"
import { eventsOf } from "#trust/change-events.ts"
import { Hex32, WholeNumber } from "#core/documents.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { parseJson, reader } from "#core/schema.ts"

/** Longest line, its end not counted. */
export const LINE_BYTES_MAX = 32 * 1024
/** What the first line names as the one before it. */
export const NO_LINE = "0".repeat(64)

const strict = { additionalProperties: false } as const

const eventFields = {
  event: Type.String({ pattern: "^[a-z][a-z-]{0,62}$" }),
  /** Who did it: a member, the bearer of an invite, or the holders of the keys that signed it (TUF key ids). */
  actor: Type.Object(
    {
      kind: Type.Union([Type.Literal("member"), Type.Literal("invite"), Type.Literal("keys")]),
      ids: Type.Array(Type.String({ pattern: "^([0-9a-f]{32}|[0-9a-f]{64})$" }), { maxItems: 128 }),
    },
    strict,
  ),
  /** The address that it came from; null for what was done in this home. */
  from: Type.Union([Type.String({ maxLength: 260 }), Type.Null()]),
  /** Details. Never a secret: no invite's text, no key that opens or signs. */
  what: Type.Record(
    Type.String({ pattern: "^[a-zA-Z]{1,40}$" }),
    Type.Union([Type.String({ maxLength: 8_000 }), WholeNumber, Type.Null()]),
    strict,
  ),
}

/** What is to be recorded. */
export const AuditEvent = Type.Object(eventFields, strict)
export type AuditEvent = Static<typeof AuditEvent>

export const AuditEntry = Type.Object(
  {
    seq: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
    atMs: WholeNumber,
    ...eventFields,
    /** SHA-256 of the line before. */
    prev: Hex32,
  },
  strict,
)
export type AuditEntry = Static<typeof AuditEntry>

/** What happened between two catalogs, done by the keys that signed it. */
export function changeEvents(before: CatalogFiles, after: CatalogFiles, from: string | null): AuditEvent[] {
  return eventsOf(before, after).map(({ event, what, signedBy }) => ({ event, actor: { kind: "keys", ids: [...signedBy] }, from, what }))
}

const readEntry = reader(AuditEntry, "AUDIT_BROKEN", "entry")

/** The last line of a chain. */
export type ChainHead = { readonly seq: number; readonly hash: string }
export const noLines: ChainHead = { seq: 0, hash: NO_LINE }

/** The lines, each with its end, that carry these events on from `head`, and the head that they make. */
export function chainLines(
  head: ChainHead,
  events: readonly AuditEvent[],
  atMs: number,
): { readonly bytes: Buffer; readonly head: ChainHead } {
  const lines: Buffer[] = []
  let { seq, hash } = head
  for (const { event, actor, from, what } of events) {
    seq += 1
    const entry: AuditEntry = readEntry({ seq, atMs, event, actor, from, what, prev: hash })
    const line = Buffer.from(JSON.stringify(entry))
    if (line.length > LINE_BYTES_MAX) throw new RangeError(`an audit line of ${line.length} bytes, at most ${LINE_BYTES_MAX} are written`)
    hash = hashOf(line)
    lines.push(line, LINE_END)
  }
  return { bytes: Buffer.concat(lines), head: { seq, hash } }
}

const LINE_END = Buffer.from("\n")

/** A line's own hash: over its bytes without the line end. */
export function hashOf(line: Uint8Array): string {
  return createHash("sha256").update(line).digest("hex")
}

/** Null where the line is not of the form it must have. */
export function entryOf(line: Uint8Array): AuditEntry | null {
  try {
    return parsed(line)
  } catch (error) {
    if (error instanceof GridError) return null
    throw error
  }
}

function parsed(line: Uint8Array): AuditEntry {
  return readEntry(parseJson(line, LINE_BYTES_MAX, "AUDIT_BROKEN", "entry"))
}

/** Follows a chain line by line, and goes on behind a line that does not hold. */
export class Chain {
  #head: ChainHead = noLines

  get head(): ChainHead {
    return this.#head
  }

  /** The next line's entry, where it can be read, and what does not hold about it. */
  take(line: Uint8Array): { readonly entry: AuditEntry | null; readonly fault: string | null } {
    const before = this.#head
    const hash = hashOf(line)
    try {
      const entry = parsed(line)
      this.#head = { seq: entry.seq, hash }
      return { entry, fault: breakBetween(before, entry) }
    } catch (error) {
      if (!(error instanceof GridError)) throw error
      this.#head = { seq: before.seq + 1, hash }
      return { entry: null, fault: `it is no entry: ${reasonOf(error)}` }
    }
  }
}

function breakBetween(before: ChainHead, { seq, prev }: AuditEntry): string | null {
  if (seq !== before.seq + 1)
    return before.seq === 0
      ? `it is entry ${seq}, and the log begins with entry 1: what stood before it is gone`
      : `it is entry ${seq}, and ${before.seq + 1} follows here: lines are missing, moved or put in`
  if (prev === before.hash) return null
  return before.seq === 0
    ? "it names a line before it, and there is none: it was changed"
    : `it names another line before it than stands there: entry ${before.seq} or this one was changed`
}
