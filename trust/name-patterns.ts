/** Which images a publisher may sign: patterns of names as people write them, and the TUF paths that say the same. Pure. */
import { GridError } from "#core/errors.ts"

/** Of core/identifiers.ts: an image's name has at most so many segments. */
const SEGMENTS_MAX = 4
const SEGMENT = /^(\*|[a-z0-9*][a-z0-9._*-]*)$/
const PATTERN_LENGTH_MAX = 128

/**
 * The TUF paths of a pattern of image names. `hpc/*` is everything below hpc, `*` everything, `web` that image alone, `deb*` whatever
 * begins so. In TUF a `*` does not cross "/", so a last segment of `*` becomes one path for each depth that a name may have.
 * @throws {GridError} NAME_INVALID
 */
export function pathsOfPattern(pattern: string): string[] {
  const segments = pattern.split("/")
  if (pattern.length > PATTERN_LENGTH_MAX || segments.length > SEGMENTS_MAX || !segments.every((segment) => SEGMENT.test(segment)))
    throw new GridError(
      "NAME_INVALID",
      `pattern ${JSON.stringify(pattern.slice(0, 200))} is not 1 to ${SEGMENTS_MAX} segments of a-z, 0-9, '.', '_', '-' and '*' joined by '/', such as hpc/*`,
    )
  const depths = segments.at(-1) === "*" ? SEGMENTS_MAX - segments.length + 1 : 1
  return ["images", "grants"].flatMap((kind) =>
    Array.from({ length: depths }, (_, deeper) => `${kind}/${pattern}/${"*/".repeat(deeper)}*.json`),
  )
}

/** The patterns that these paths say; a path that no pattern gives stands for itself. */
export function patternsOfPaths(paths: readonly string[]): string[] {
  const left = new Set(paths)
  const patterns: string[] = []
  // The shortest first: the deeper ones follow from it.
  for (const path of [...paths].sort((a, b) => a.split("/").length - b.split("/").length)) {
    const pattern = /^images\/(.+)\/\*\.json$/.exec(path)?.[1]
    if (!left.has(path) || pattern === undefined) continue
    const all = pathsOfPattern(pattern)
    if (!all.every((one) => left.has(one))) continue
    for (const one of all) left.delete(one)
    patterns.push(pattern)
  }
  return [...patterns, ...left]
}
