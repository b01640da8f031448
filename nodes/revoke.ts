/** Members and invites that the site admits no more, whatever their certificates say. */
import { GridError } from "#core/errors.ts"
import { makeChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

/** `ids`: those that the change revokes. */
export type Revocation = MadeChange & { readonly ids: readonly string[] }
export type RevokeOptions = {
  /** What to do when the member of this very home is among them. */
  readonly ownMember: "refuse" | "revoke"
}

/**
 * Null when all of them are revoked already. An id that nobody here has heard of is taken too: the site keeps no list of its members.
 * @throws {GridError} USAGE for this home's own member
 */
export async function revoke(parts: MakeChangeParts, ids: readonly string[], options: RevokeOptions): Promise<Revocation | null> {
  const { home } = parts
  if (ids.includes(home.memberId) && options.ownMember === "refuse")
    throw new GridError(
      "USAGE",
      `${home.memberId} is the member of this home, ${home.directory}, which no other member would talk to any more; add --yes if that is meant`,
    )
  const { site } = await currentCatalog(parts)
  const added = [...new Set(ids)].filter((id) => !site.revoked.includes(id))
  if (added.length === 0) return null
  const made = await makeChange(parts, () => ({ site: (document) => ({ ...document, revoked: [...document.revoked, ...added] }) }))
  return { ...made, ids: added }
}
