/** Paths that people name in groups: `/var/log` and all below it, `*` for any name or part of one, `**` for any number of names. */
import { PATH_PATTERN_LENGTH_MAX, PATH_PATTERNS_MAX } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { byteString, bytesOf, type ByteString } from "./byte-string.ts"

/** Of an image's and of a client's own. */
const TOGETHER_MAX = 2 * PATH_PATTERNS_MAX
const STARS_MAX = 8

/** Tells whether a path, or a directory above it, is named. @throws {GridError} NAME_INVALID */
export function pathMatcher(patterns: readonly string[]): (path: ByteString) => boolean {
  if (patterns.length === 0) return () => false
  if (patterns.length > TOGETHER_MAX) throw new GridError("NAME_INVALID", `${patterns.length} patterns of paths, ${TOGETHER_MAX} are taken`)
  const all = patterns.map(matcherOf)
  return (path) => all.some((isNamed) => isNamed(path))
}

const NAME_STAR = -1
const PATH_STAR = -2
const SLASH = 0x2f

function matcherOf(pattern: string): (path: ByteString) => boolean {
  const bare = pattern.replace(/^\/+|\/+$/g, "")
  const stars = bare.split("*").length - 1
  if (bare === "" || bare.length > PATH_PATTERN_LENGTH_MAX || stars > STARS_MAX || bare.includes("\0"))
    throw new GridError(
      "NAME_INVALID",
      `${JSON.stringify(pattern.slice(0, 80))} is not a pattern of paths such as /etc/machine-id, /var/log or /home/*/.cache, with ${STARS_MAX} stars at most`,
    )
  const bytes = byteString(Buffer.from(bare))
  if (stars === 0) return (path) => path === bytes || path.startsWith(`${bytes}/`)
  const tokens = bytes
    .split(/(\*\*|\*)/)
    .flatMap((part) => (part === "**" ? [PATH_STAR] : part === "*" ? [NAME_STAR] : Array.from(bytesOf(part as ByteString))))
  return (path) => matches(tokens, path)
}

/** All ways to match are followed at once, so that time grows with the product of both lengths at most, whatever they are. */
function matches(tokens: readonly number[], path: ByteString): boolean {
  /** Whether the tokens before this one are matched by what was read. */
  let reached = new Uint8Array(tokens.length + 1)
  const reach = (at: number): void => {
    reached[at] = 1
    // A star may stand for nothing.
    for (let next = at; (tokens[next] ?? 0) < 0; next += 1) reached[next + 1] = 1
  }
  reach(0)
  for (let position = 0; position < path.length; position += 1) {
    const byte = path.charCodeAt(position)
    // A directory above the path is named.
    if (byte === SLASH && reached[tokens.length] === 1) return true
    const before = reached
    reached = new Uint8Array(tokens.length + 1)
    let isAlive = false
    for (const [at, token] of tokens.entries()) {
      if (before[at] !== 1) continue
      const stays = token === PATH_STAR || (token === NAME_STAR && byte !== SLASH)
      if (!stays && token !== byte) continue
      isAlive = true
      reach(stays ? at : at + 1)
    }
    if (!isAlive) return false
  }
  return reached[tokens.length] === 1
}
