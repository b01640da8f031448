/** Which images a publisher may sign: patterns of names as people write them, and the TUF paths that say the same. Pure. */
import { NAME_SEGMENTS_MAX, namePattern } from "#core/name-patterns.ts"

/**
 * The TUF paths of a pattern of image names. In TUF a `*` does not cross "/", so a last segment of `*` becomes one path for each depth that a name may have.
 * @throws {GridError} NAME_INVALID
 */
export function pathsOfPattern(pattern: string): string[] {
  const segments = namePattern(pattern)
  const depths = segments.at(-1) === "*" ? NAME_SEGMENTS_MAX - segments.length + 1 : 1
  const names = Array.from({ length: depths }, (_, deeper) => pattern + "/*".repeat(deeper))
  return [
    ...names.map((name) => `images/${name}/*.json`),
    ...names.map((name) => `grants/${name}/*.json`),
    ...names.map((name) => `tags/${name}.json`),
  ]
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
