/** Who is in which group. */
import type { SiteDocument } from "./documents.ts"
import type { GroupName } from "./identifiers.ts"

/**
 * The groups of a member: those that its certificate names, as its invite said, with what the site's document added and without what it
 * removed. In the document's order; a group that the site does not have is none. A mirror is in no group, whatever anything says.
 */
export function groupsOf(
  site: Pick<SiteDocument, "groups">,
  member: { readonly memberId: string; readonly role: "server" | "mirror" | "client"; readonly groups: readonly string[] },
): GroupName[] {
  if (member.role === "mirror") return []
  return site.groups
    .filter(
      ({ name, added, removed }) => !removed.includes(member.memberId) && (member.groups.includes(name) || added.includes(member.memberId)),
    )
    .map(({ name }) => name as GroupName)
}
