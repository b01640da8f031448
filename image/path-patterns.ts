/** Paths that people name in groups: `/var/log` and all below it, `*` for any name or part of one, `**` for any number of names. */
import { PATH_PATTERN_LENGTH_MAX, PATH_PATTERNS_MAX } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { byteString, type ByteString } from "./byte-string.ts"

/** Of an image's and of a client's own. */
const TOGETHER_MAX = 2 * PATH_PATTERNS_MAX
const STARS_MAX = 8

/** Tells whether a path, or a directory above it, is named. @throws {GridError} NAME_INVALID */
export function pathMatcher(patterns: readonly string[]): (path: ByteString) => boolean {
  if (patterns.length === 0) return () => false
  if (patterns.length > TOGETHER_MAX) throw new GridError("NAME_INVALID", `${patterns.length} patterns of paths, ${TOGETHER_MAX} are taken`)
  const all = new RegExp(`^(?:${patterns.map(expressionOf).join("|")})(?:/|$)`, "s")
  return (path) => all.test(path)
}

function expressionOf(pattern: string): string {
  const bare = pattern.replace(/^\/+|\/+$/g, "")
  const stars = bare.split("*").length - 1
  if (bare === "" || bare.length > PATH_PATTERN_LENGTH_MAX || stars > STARS_MAX || bare.includes("\0"))
    throw new GridError(
      "NAME_INVALID",
      `${JSON.stringify(pattern.slice(0, 80))} is not a pattern of paths such as /etc/machine-id, /var/log or /home/*/.cache, with ${STARS_MAX} stars at most`,
    )
  return byteString(Buffer.from(bare))
    .split(/(\*\*|\*)/)
    .map((part) => (part === "**" ? ".*" : part === "*" ? "[^/]*" : part.replace(/[.+?^${}()|[\]\\/]/g, "\\$&")))
    .join("")
}
