/**
 * Whose keys sign for a role, as an edit that people propose: keys added, keys removed, another threshold, or a new signature alone. Pure.
 */
import { GridError } from "#core/errors.ts"
import type { CatalogFiles } from "./catalog-file.ts"
import type { Edits } from "./change.ts"
import { newestRoot, targetsOf } from "./files.ts"
import { keyIdOf, publicTufKey, type SignedBody } from "./metadata.ts"

export type RoleEdit = {
  /** `root`, `targets`, or a publisher's name. */
  readonly role: string
  /** Ed25519 public keys, 64 hex digits each. */
  readonly addKeys: readonly string[]
  /** TUF key ids, or the beginning of one. */
  readonly removeKeys: readonly string[]
  /** Null leaves it as it is. */
  readonly threshold: number | null
}

/** The fewest digits that name a key. */
const PREFIX_DIGITS_MIN = 8

type Signers = SignedBody<"root">["roles"]["root"]

/** @throws {GridError} USAGE for an unknown role or key, a key that is there already, a threshold that can't be met, or nothing to change */
export function roleEdits(files: CatalogFiles, edit: RoleEdit): Edits {
  const { role } = edit
  const signers = editedSigners(role, signersOf(files, role), edit)
  const added = Object.fromEntries(edit.addKeys.map((key) => [keyIdOf(key), publicTufKey(key)]))
  if (role === "root" || role === "targets")
    return { root: (root) => ({ ...root, keys: { ...root.keys, ...added }, roles: { ...root.roles, [role]: signers } }) }
  return {
    delegations: ({ keys, roles }) => ({
      keys: { ...keys, ...added },
      roles: roles.map((one) => (one.name === role ? { ...one, ...signers } : one)),
    }),
  }
}

/** Signs a role's file anew, for its expiry. @throws {GridError} USAGE for an unknown role */
export function renewalOf(files: CatalogFiles, role: string): Edits {
  signersOf(files, role)
  if (role === "root") return { root: (root) => root }
  return role === "targets" ? { site: (document) => document } : { publishers: new Map([[role, {}]]) }
}

function signersOf(files: CatalogFiles, role: string): Signers {
  if (role === "snapshot" || role === "timestamp")
    throw new GridError("USAGE", `--role ${role}: servers sign it by themselves; 'imagegrid rotate' replaces its key`)
  const root = newestRoot(files)
  if (role === "root" || role === "targets") return root.roles[role]
  const { roles } = targetsOf(files).delegations
  const found = roles.find(({ name }) => name === role)
  if (found !== undefined) return found
  const names = ["root", "targets", ...roles.map(({ name }) => name)]
  throw new GridError("USAGE", `--role ${JSON.stringify(role.slice(0, 100))}: the site has ${names.join(", ")}`)
}

function editedSigners(role: string, before: Signers, edit: RoleEdit): Signers {
  const keyids = new Set(before.keyids)
  for (const given of edit.removeKeys) keyids.delete(keyNamed(role, before.keyids, given))
  for (const key of edit.addKeys) {
    const id = keyIdOf(key)
    if (before.keyids.includes(id) || keyids.has(id)) throw new GridError("USAGE", `--add-key: ${role} has key ${id} already`)
    keyids.add(id)
  }
  const threshold = edit.threshold ?? before.threshold
  if (threshold > keyids.size)
    throw new GridError(
      "USAGE",
      `${role} would have ${keyids.size} key${keyids.size === 1 ? "" : "s"}, and ${threshold} must sign; add keys, or lower it with --threshold`,
    )
  if (edit.addKeys.length === 0 && edit.removeKeys.length === 0 && threshold === before.threshold)
    throw new GridError("USAGE", `${role} is so already; to sign it anew as it is, use --renew`)
  return { keyids: [...keyids] as Signers["keyids"], threshold }
}

/** The one key of these that the digits name. */
function keyNamed(role: string, keyIds: readonly string[], given: string): string {
  const named = keyIds.filter((id) => id.startsWith(given))
  if (/^[0-9a-f]{8,64}$/.test(given) && named[0] !== undefined && named.length === 1) return named[0]
  const why = named.length > 1 ? `names ${named.length} keys of ${role}` : `names no key of ${role}`
  throw new GridError(
    "USAGE",
    `--remove-key ${JSON.stringify(given.slice(0, 70))} ${why}; give ${PREFIX_DIGITS_MIN} hex digits or more of one of ${keyIds.join(", ")}`,
  )
}
