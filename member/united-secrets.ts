/** What two servers of a site hold together. Pure. */
import { ONLINE_KEYS_MAX, type MemberSecrets } from "#core/wire.ts"

/**
 * Secrets with all keys of both, theirs that are new here first, and of each kind as many as are kept. Which of them are in force the catalog
 * says, so a key too many does no harm, and a key that only this server holds yet is not lost to an answer that lacks it.
 */
export function unitedSecrets(mine: MemberSecrets, theirs: MemberSecrets): MemberSecrets {
  const groups = [...mine.groups]
  for (const group of theirs.groups)
    if (!groups.some(({ name, secretKey }) => name === group.name && secretKey === group.secretKey)) groups.push(group)
  const [a, b] = [mine.online, theirs.online]
  return {
    groups,
    networkKeys: keys(mine.networkKeys, theirs.networkKeys),
    ...(a !== undefined &&
      b !== undefined && {
        online: {
          authorities: keys(a.authorities, b.authorities),
          snapshot: keys(a.snapshot, b.snapshot),
          timestamp: keys(a.timestamp, b.timestamp),
          pointers: keys(a.pointers, b.pointers),
        },
      }),
  }
}

function keys(own: readonly string[], others: readonly string[]): string[] {
  return [...others.filter((key) => !own.includes(key)), ...own].slice(0, ONLINE_KEYS_MAX)
}
