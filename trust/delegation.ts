/** Which paths a publisher's role may sign, as TUF matches them. */
import { DelegatedRole } from "@tufjs/models/dist/role.js"
import type { SignedBody } from "./metadata.ts"

export type Delegation = SignedBody<"targets">["delegations"]["roles"][number]

/** Whether all of these paths are the role's to sign. */
export function maySign(role: Delegation, wanted: readonly string[]): boolean {
  return wanted.every(signable(role))
}

/** The same for one path after another. */
export function signable({ name, keyids, threshold, terminating, paths }: Delegation): (path: string) => boolean {
  const matchers = paths.map(plainMatcher)
  const plain = matchers.filter((matches) => matches !== null)
  // The library translates a pattern anew for each path, which for thousands of images takes a third of all that is done to verify them.
  const others = paths.filter((_, at) => matchers[at] === null)
  const rest = new DelegatedRole({ name, keyIDs: keyids, threshold, terminating, paths: others })
  return (path) => {
    const segments = path.split("/")
    return plain.some((matches) => matches(segments)) || rest.isDelegatedPath(path)
  }
}

type SegmentMatcher = (segment: string) => boolean

/** Of a pattern whose segments are plain text, or a `*` and what follows it; null for others, which the library decides. */
function plainMatcher(pattern: string): ((segments: readonly string[]) => boolean) | null {
  const matchers: SegmentMatcher[] = []
  for (const part of pattern.split("/")) {
    const end = part.startsWith("*") ? part.slice(1) : null
    if ((end ?? part).includes("*")) return null
    // As the library has it, no `*` stands for the beginning of a name that begins with a dot.
    if (end === null) matchers.push((segment) => segment === part)
    else matchers.push((segment) => segment.length > 0 && !segment.startsWith(".") && segment.endsWith(end))
  }
  return (segments) => segments.length === matchers.length && matchers.every((matches, at) => matches(segments[at] ?? ""))
}
