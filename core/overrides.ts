/**
 * Which hosts a small tree is for that is laid over an image's own, as SystemImager's override directories are: `group:web` for the members of a group,
 * `host:node0*` for hosts by name. Pure.
 */
import { GridError } from "./errors.ts"
import { granteeName } from "./identifiers.ts"
import { isOfPattern, namePattern } from "./name-patterns.ts"

export type AppliesTo = { readonly group: string } | { readonly hosts: string }

/** A host, as overrides are chosen for it. */
export type Host = {
  /** In lower case: its own word, so what an override holds is no secret from another host that may open the image. */
  readonly names: readonly string[]
  /** As the image's site names them: `GROUP` of that site, `SITE/GROUP` of another. */
  readonly groups: readonly string[]
}

/** @throws {GridError} USAGE */
export function parseAppliesTo(text: string): AppliesTo {
  const [, kind, name = ""] = /^(group|host):(.+)$/.exec(text) ?? []
  if (kind === "group") return { group: granteeName(name) }
  if (kind === "host") return { hosts: hostPattern(name) }
  throw new GridError(
    "USAGE",
    `an override is for group:NAME or host:PATTERN, such as host:node0*, not ${JSON.stringify(text.slice(0, 80))}`,
  )
}

export function formatAppliesTo(appliesTo: AppliesTo): string {
  return "group" in appliesTo ? `group:${appliesTo.group}` : `host:${appliesTo.hosts}`
}

/** A host's name, in lower case, with `*` for any part of it. @throws {GridError} NAME_INVALID */
export function hostPattern(text: string): string {
  if (namePattern(text).length !== 1)
    throw new GridError("NAME_INVALID", `${JSON.stringify(text.slice(0, 80))} is no host name: it has a '/' in it`)
  return text
}

/** Those for groups first, then those for many hosts, then those for one; else as they came. What is laid later has the last word. */
export function overridesInOrder<T>(overrides: readonly T[], of: (override: T) => AppliesTo): T[] {
  return overrides.toSorted((a, b) => rank(of(a)) - rank(of(b)))
}

function rank(appliesTo: AppliesTo): number {
  if ("group" in appliesTo) return 0
  return appliesTo.hosts.includes("*") ? 1 : 2
}

export function isFor(appliesTo: AppliesTo, host: Host): boolean {
  if ("group" in appliesTo) return host.groups.includes(appliesTo.group)
  return host.names.some((name) => isOfPattern(name, appliesTo.hosts))
}

/** A host's name and the first part of it. @throws {GridError} NAME_INVALID */
export function hostNames(name: string): string[] {
  const lower = name.toLowerCase()
  if (!/^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$/.test(lower))
    throw new GridError("NAME_INVALID", `${JSON.stringify(name.slice(0, 80))} is no host name`)
  return [...new Set([lower, lower.split(".")[0] ?? lower])]
}
