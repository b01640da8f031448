/** Patterns of image names, as people write them. Pure. */
import { GridError } from "./errors.ts"

/** Of identifiers.ts: an image's name has at most so many segments. */
export const NAME_SEGMENTS_MAX = 4
const SEGMENT = /^(\*|[a-z0-9*][a-z0-9._*-]*)$/
export const NAME_PATTERN_LENGTH_MAX = 128

/**
 * The segments of a pattern: `hpc/*` is everything below hpc, `*` everything, `web` that image alone, `deb*` whatever begins so, within one segment.
 * @throws {GridError} NAME_INVALID
 */
export function namePattern(pattern: string): readonly string[] {
  const segments = pattern.split("/")
  if (
    pattern.length > NAME_PATTERN_LENGTH_MAX ||
    segments.length > NAME_SEGMENTS_MAX ||
    !segments.every((segment) => SEGMENT.test(segment))
  )
    throw new GridError(
      "NAME_INVALID",
      `pattern ${JSON.stringify(pattern.slice(0, 200))} is not 1 to ${NAME_SEGMENTS_MAX} segments of a-z, 0-9, '.', '_', '-' and '*' joined by '/', such as hpc/*`,
    )
  return segments
}

/** Whether a pattern is of an image of this name. @throws {GridError} NAME_INVALID for a pattern out of form */
export function isOfPattern(name: string, pattern: string): boolean {
  const wanted = namePattern(pattern)
  const segments = name.split("/")
  const deeper = wanted.at(-1) === "*"
  if (deeper ? segments.length < wanted.length : segments.length !== wanted.length) return false
  return wanted.every((segment, position) => matches(segments[position] ?? "", segment))
}

/** Within one segment; time grows with the product of both lengths at most. */
function matches(text: string, segment: string): boolean {
  const [first = "", ...rest] = segment.split("*")
  if (rest.length === 0) return text === segment
  if (!text.startsWith(first)) return false
  const last = rest.pop() ?? ""
  let from = first.length
  for (const part of rest) {
    const at = text.indexOf(part, from)
    if (at < 0) return false
    from = at + part.length
  }
  return text.length - last.length >= from && text.endsWith(last)
}
