/** Who may publish which names: publishers' roles are added to and taken from the delegations of the site's targets role. */
import { GridError } from "#core/errors.ts"
import { keyIdOf, publicTufKey } from "#trust/metadata.ts"
import { pathsOfPattern } from "#trust/name-patterns.ts"
import { makeChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

export type NewPublisher = {
  readonly name: string
  /** Patterns of image names, such as `hpc/*`. */
  readonly names: readonly string[]
  /** Ed25519 public keys, 64 hex digits each. */
  readonly keys: readonly string[]
  readonly threshold: number
}

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/
const TAKEN: ReadonlySet<string> = new Set(["root", "targets", "snapshot", "timestamp"])

/**
 * Puts the publisher before the others: of several whose patterns fit a new image, the first that a key at hand belongs to signs it, and TUF
 * clients look in that order. It does not end their search, since others may have signed such names before.
 * @throws {GridError} NAME_INVALID, USAGE; as makeChange
 */
export async function addPublisher(parts: MakeChangeParts, { name, names, keys, threshold }: NewPublisher): Promise<MadeChange> {
  if (!NAME.test(name) || TAKEN.has(name))
    throw new GridError(
      "NAME_INVALID",
      `publisher ${JSON.stringify(name.slice(0, 100))} is not 1 to 63 of a-z, 0-9 and -, or is a role of the site itself`,
    )
  const { roles } = await currentCatalog(parts)
  if (roles.some((role) => role.name === name)) throw new GridError("USAGE", `the site has a publisher ${name} already; name another`)
  const paths = [...new Set(names.flatMap(pathsOfPattern))]
  const keyIds = [...new Set(keys)].map(keyIdOf)
  if (paths.length === 0 || keyIds.length === 0) throw new GridError("USAGE", "a publisher has names (--names) and keys (--key-of)")
  if (threshold < 1 || threshold > keyIds.length)
    throw new GridError("USAGE", `--threshold is 1 to ${keyIds.length}, as many as there are keys, not ${threshold}`)
  return makeChange(parts, () => ({
    delegations: (before) => ({
      keys: { ...before.keys, ...Object.fromEntries(keys.map((key) => [keyIdOf(key), publicTufKey(key)])) },
      roles: [{ name, keyids: keyIds, threshold, terminating: false, paths }, ...before.roles],
    }),
  }))
}

/** The images that only this publisher vouches for, `NAME:VERSION`. @throws {GridError} USAGE when there is no such publisher */
export async function imagesOf(parts: MakeChangeParts, name: string): Promise<string[]> {
  const { roles, publishers } = await currentCatalog(parts)
  const known = roles.filter(({ paths }) => paths !== null).map((role) => role.name)
  if (!known.includes(name))
    throw new GridError("USAGE", `the site has no publisher ${JSON.stringify(name.slice(0, 100))}; it has ${known.join(", ")}`)
  return [...publishers].filter(([, publisher]) => publisher === name).map(([image]) => image)
}

/** Its images vanish from the catalog with it. @throws {GridError} as makeChange */
export function removePublisher(parts: MakeChangeParts, name: string): Promise<MadeChange> {
  return makeChange(parts, () => ({
    delegations: ({ keys, roles }) => ({ keys, roles: roles.filter((role) => role.name !== name) }),
  }))
}
