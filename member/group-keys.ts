/** Which of the group keys that somebody holds are in force, as the site's document says. Pure. */
import { sealingKeyFromSecret } from "#crypto/identity.ts"
import type { SiteDocument } from "#core/documents.ts"
import type { MemberSecrets } from "#core/wire.ts"

type GroupKey = MemberSecrets["groups"][number]
type Group = SiteDocument["groups"][number]

/** Whether grants to the group are sealed to this key now. A generation alone proves nothing: two changes may each have made a key for it. */
export function isCurrentKey(held: GroupKey, group: Pick<Group, "name" | "generation" | "publicKey">): boolean {
  if (held.name !== group.name || held.generation !== group.generation) return false
  return sealingKeyFromSecret(Buffer.from(held.secretKey, "hex")).publicKeyHex === group.publicKey
}

/**
 * The keys of groups and generations that the site names or has named. A key that waits for its change to be signed is not among them: whoever
 * that change is to remove would get it while it waits.
 */
export function groupKeysInForce(secrets: Pick<MemberSecrets, "groups">, site: Pick<SiteDocument, "groups">): GroupKey[] {
  return secrets.groups.filter((held) =>
    site.groups.some((group) => group.name === held.name && (held.generation < group.generation || isCurrentKey(held, group))),
  )
}
