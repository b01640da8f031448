/** Who is in a group, in words: the site keeps no list of members, only what was said beside their invites. */
const IDS_SHOWN = 8

export function describeMembers({ added, removed }: { readonly added: readonly string[]; readonly removed: readonly string[] }): string {
  const words = ["whose invite said so"]
  if (added.length > 0) words.push(`added: ${listed(added)}`)
  if (removed.length > 0) words.push(`removed: ${listed(removed)}`)
  return words.join("; ")
}

function listed(ids: readonly string[]): string {
  const more = ids.length - IDS_SHOWN
  return ids.slice(0, IDS_SHOWN).join(", ") + (more > 0 ? ` and ${more} more` : "")
}
