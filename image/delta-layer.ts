/**
 * The content of a delta layer: what an image has that its parent has not. Form `imagegrid-delta-1`:
 *
 * - one line `{"format":"imagegrid-delta-1","parent":SHA256,"index":SHA256}`, digests of the two indexes;
 * - the edits that make one index of the other (index-edits.ts), a line each, and a line `{"edits":N}`;
 * - each content that no file of the parent has, once: a line `{"sha256":SHA256,"size":N,"stored":N}` with the digest as the index has it, and the stored
 *   bytes. With `"base":SHA256,"segments":[[OFFSET,LENGTH,STORED],...]` these are patches (patch.ts) of a content that the parent has. With `"zeros":[[FIRST,COUNT],...]` runs of whole
 *   zero blocks (content-digest.ts) are left out of them;
 * - a line `{"contents":N}`.
 */
import { Type } from "typebox"
import { Digest, WholeNumber } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import type { Sha256 } from "#core/identifiers.ts"
import { parseJson, reader } from "#core/schema.ts"
import { ZERO_BLOCK_BYTES } from "./content-digest.ts"
import { editLine, editOfLine, type IndexEdit } from "./index-edits.ts"
import { BASE_BYTES_MAX, segmentCount, STORED_BYTES_MAX, type Segment } from "./patch.ts"
import { StreamReader } from "./stream-reader.ts"
import type { ZeroRun } from "./zero-runs.ts"

const strict = { additionalProperties: false } as const
const Header = Type.Object({ format: Type.Literal("imagegrid-delta-1"), parent: Digest, index: Digest }, strict)
const EditsEnd = Type.Object({ edits: WholeNumber }, strict)
const ContentsEnd = Type.Object({ contents: WholeNumber }, strict)
const Content = Type.Object(
  {
    sha256: Digest,
    size: WholeNumber,
    /** Bytes that follow. */
    stored: WholeNumber,
    base: Type.Optional(Digest),
    segments: Type.Optional(Type.Array(Type.Tuple([WholeNumber, WholeNumber, WholeNumber]), { minItems: 1 })),
    /** First and count, in blocks of `ZERO_BLOCK_BYTES`. */
    zeros: Type.Optional(Type.Array(Type.Tuple([WholeNumber, WholeNumber]), { minItems: 1 })),
  },
  strict,
)
const readHeader = reader(Header, "SEALED_INVALID", "beginning of a delta layer")
const readEditsEnd = reader(EditsEnd, "SEALED_INVALID", "end of the edits of a delta layer")
const readContentsEnd = reader(ContentsEnd, "SEALED_INVALID", "end of a delta layer")
const readContent = reader(Content, "SEALED_INVALID", "content of a delta layer")

/** A line of the index at its longest, and as many runs of zeros as a file of 16 TiB may have. */
const LINE_BYTES_MAX = 32 * 1024 * 1024

export type DeltaHeader = { readonly parent: Sha256; readonly index: Sha256 }
export type DeltaContent = {
  readonly sha256: Sha256
  readonly size: number
  readonly stored: number
  /** Null where the stored bytes are the content itself. */
  readonly base: { readonly sha256: Sha256; readonly segments: readonly Segment[] } | null
  readonly zeros: readonly ZeroRun[]
}

export function* deltaBeginning({ parent, index }: DeltaHeader, edits: Iterable<IndexEdit>): Generator<string> {
  yield `${JSON.stringify({ format: "imagegrid-delta-1", parent, index })}\n`
  let count = 0
  for (const edit of edits) {
    count += 1
    yield editLine(edit)
  }
  yield `{"edits":${count}}\n`
}

export function contentLine({ sha256, size, stored, base, zeros }: DeltaContent): string {
  const patched = base !== null && { base: base.sha256, segments: base.segments }
  return `${JSON.stringify({ sha256, size, stored, ...patched, ...(zeros.length > 0 && { zeros }) })}\n`
}

export function deltaEnd(contentCount: number): string {
  return `{"contents":${contentCount}}\n`
}

/** What is done with a delta layer as it comes. What was given is final only once `readDelta` resolves. */
export type DeltaTaker = {
  /** The edits are whole. */
  begin(header: DeltaHeader, edits: readonly IndexEdit[]): Promise<void>
  /** `bytes`, lent, are to be read to their end. */
  content(content: DeltaContent, bytes: AsyncIterable<Buffer>): Promise<void>
}

/**
 * Ends with an error unless the layer ended as a whole, and closes `content` whatever happens.
 * @throws {GridError} SEALED_INVALID, INDEX_INVALID
 * @throws what `content` and `taker` throw
 */
export async function readDelta(content: AsyncIterable<Uint8Array>, taker: DeltaTaker): Promise<void> {
  const stream = new StreamReader(content)
  try {
    const { parent, index } = readHeader(json(await stream.line(LINE_BYTES_MAX)))
    const edits: IndexEdit[] = []
    for (;;) {
      const line = await stream.line(LINE_BYTES_MAX)
      if (line.startsWith('{"edits":')) {
        requireCount(readEditsEnd(json(line)).edits, edits.length)
        break
      }
      edits.push(editOfLine(line, edits.length + 1))
    }
    await taker.begin({ parent, index }, edits)
    for (let count = 0; ; count += 1) {
      const line = await stream.line(LINE_BYTES_MAX)
      if (line.startsWith('{"contents":')) {
        requireCount(readContentsEnd(json(line)).contents, count)
        break
      }
      const next = contentOf(line)
      await taker.content(next, stream.bytes(next.stored))
    }
    await stream.end()
  } finally {
    await stream.close()
  }
}

function contentOf(line: string): DeltaContent {
  const { sha256, size, stored, base, segments = [], zeros = [] } = readContent(json(line))
  const refuse = (why: string): never => {
    throw new GridError("SEALED_INVALID", `the content ${sha256} of a delta layer ${why}`)
  }
  if (base !== undefined) {
    const isInBounds = segments.every(([, length, bytes]) => length <= BASE_BYTES_MAX && bytes <= STORED_BYTES_MAX)
    if (zeros.length > 0 || !isInBounds || segments.length !== segmentCount(size)) refuse("is a patch out of bounds")
    if (segments.reduce((sum, [, , bytes]) => sum + bytes, 0) !== stored) refuse("is not as long as it says")
    return { sha256, size, stored, base: { sha256: base, segments }, zeros: [] }
  }
  if (segments.length > 0) refuse("is a patch of nothing")
  let [from, zeroBytes] = [0, 0]
  for (const [first, count] of zeros) {
    if (first < from || count === 0) refuse("has runs of zeros out of order")
    from = first + count
    zeroBytes += count * ZERO_BLOCK_BYTES
  }
  if (from * ZERO_BLOCK_BYTES > size || stored + zeroBytes !== size) refuse("is not as long as it says")
  return { sha256, size, stored, base: null, zeros }
}

function json(line: string): unknown {
  return parseJson(Buffer.from(line, "latin1"), LINE_BYTES_MAX, "SEALED_INVALID", "a line of a delta layer")
}

function requireCount(said: number, found: number): void {
  if (said !== found) throw new GridError("SEALED_INVALID", `a delta layer says ${said} and has ${found}`)
}
