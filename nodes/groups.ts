/**
 * Who shares what they may open. A group's key has generations: whoever leaves the group keeps the keys that it has, so each removal makes a new
 * one, which only those who stay are given. The secret half is in this home before the change that names it is made; until that change is in
 * force, no member but a server gets it (member/group-keys.ts).
 */
import { sealingKeyFromSecret } from "#crypto/identity.ts"
import type { Catalog } from "#trust/catalog.ts"
import { draftChange } from "#trust/change.ts"
import type { SiteDocument } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import type { GroupName, MemberId } from "#core/identifiers.ts"
import { GROUP_KEYS_MAX, type MemberSecrets } from "#core/wire.ts"
import { finishChange, type MadeChange, type MakeChangeParts } from "./make-change.ts"
import { currentCatalog } from "./own-server.ts"

export type Group = SiteDocument["groups"][number]
export type GroupParts = MakeChangeParts & { readonly random: (byteCount: number) => Uint8Array }
/** The group as it is to be, and the members that the change is about. */
export type GroupChange = MadeChange & { readonly group: Group; readonly members: readonly MemberId[] }

/** @throws {GridError} GROUP_UNKNOWN, with the names of those that there are */
export function groupOf(site: Pick<SiteDocument, "site" | "groups">, name: GroupName): Group & { readonly name: GroupName } {
  const group = site.groups.find((one) => one.name === name)
  if (group !== undefined) return { ...group, name }
  const names = site.groups.map((one) => one.name)
  throw new GridError("GROUP_UNKNOWN", `${name}; the site ${site.site} has ${names.join(", ") || "none"}`)
}

/** @throws {GridError} GROUP_EXISTS, KEYS_TOO_MANY; KEY_MISSING when this is not a server's home */
export async function createGroup(parts: GroupParts, name: GroupName): Promise<GroupChange> {
  const catalog = await currentCatalog(parts)
  if (catalog.site.groups.some((group) => group.name === name))
    throw new GridError("GROUP_EXISTS", `${name}; 'imagegrid group list' shows all, and 'imagegrid group add' puts members into it`)
  const publicKey = await newKey(parts, catalog, name, 1)
  const group: Group = { name, generation: 1, publicKey, added: [], removed: [] }
  return changeGroups(parts, catalog, group, [])
}

/** Puts members into a group, whatever their invites said. Null when the site says already that all of them are. @throws {GridError} GROUP_UNKNOWN */
export async function addToGroup(parts: GroupParts, name: GroupName, members: readonly MemberId[]): Promise<GroupChange | null> {
  const catalog = await currentCatalog(parts)
  const before = groupOf(catalog.site, name)
  const added = distinct(members).filter((id) => !before.added.includes(id))
  if (added.length === 0) return null
  const group = {
    ...before,
    added: [...before.added, ...added],
    removed: before.removed.filter((id) => !members.some((one) => one === id)),
  }
  return changeGroups(parts, catalog, group, added)
}

/**
 * Takes members, whether the site has seen them or not, out of a group, and gives it a new key that they don't get. Null when the site says already
 * that all of them are out.
 * @throws {GridError} GROUP_UNKNOWN, KEYS_TOO_MANY; KEY_MISSING when this is not a server's home
 */
export async function removeFromGroup(parts: GroupParts, name: GroupName, members: readonly MemberId[]): Promise<GroupChange | null> {
  const catalog = await currentCatalog(parts)
  const before = groupOf(catalog.site, name)
  const removed = distinct(members).filter((id) => !before.removed.includes(id))
  if (removed.length === 0) return null
  const generation = before.generation + 1
  const publicKey = await newKey(parts, catalog, name, generation)
  const added = before.added.filter((id) => !members.some((one) => one === id))
  const group = { ...before, generation, publicKey, added, removed: [...before.removed, ...removed] }
  return changeGroups(parts, catalog, group, removed)
}

/** A new key of a group, nobody removed. Grants that were made before open with the older keys, which its members keep. @throws {GridError} as removeFromGroup */
export async function replaceGroupKey(parts: GroupParts, name: GroupName): Promise<GroupChange> {
  const catalog = await currentCatalog(parts)
  const before = groupOf(catalog.site, name)
  const generation = before.generation + 1
  const publicKey = await newKey(parts, catalog, name, generation)
  return changeGroups(parts, catalog, { ...before, generation, publicKey }, [])
}

async function changeGroups(parts: GroupParts, catalog: Catalog, group: Group, members: readonly MemberId[]): Promise<GroupChange> {
  const { files } = catalog
  const isNew = !catalog.site.groups.some(({ name }) => name === group.name)
  const site = (document: SiteDocument): SiteDocument => ({
    ...document,
    groups: isNew ? [...document.groups, group] : document.groups.map((one) => (one.name === group.name ? group : one)),
  })
  const made = await finishChange(parts, files, draftChange(files, { site }, parts.clock.nowMs()))
  return { ...made, group, members }
}

/** Makes a key and keeps its secret half in this home, durably; gives the public one. */
async function newKey(parts: GroupParts, catalog: Catalog, name: GroupName, generation: number): Promise<string> {
  const { home } = parts
  // Any member's home holds secrets, but what a server's home holds is shared with the other servers.
  await home.onlineKeys()
  const { publicKeyHex, secretKey } = sealingKeyFromSecret(parts.random(32))
  await home.updateSecrets((held) => {
    const groups = held.groups.length < GROUP_KEYS_MAX ? held.groups : withoutIdleKeys(held, catalog)
    if (groups.length >= GROUP_KEYS_MAX)
      throw new GridError(
        "KEYS_TOO_MANY",
        `${groups.length} keys of groups; 'imagegrid grant NAME --group GROUP' seals images to the newest keys, and the older ones go`,
      )
    return { ...held, groups: [{ name, generation, secretKey: Buffer.from(secretKey).toString("hex") }, ...groups] }
  })
  return publicKeyHex
}

/** Without the keys of former generations that no grant is sealed to any more. */
function withoutIdleKeys({ groups }: MemberSecrets, { site, grants }: Catalog): MemberSecrets["groups"] {
  const sealedTo = new Set([...grants.values()].flatMap((document) => document.grants.map((grant) => `${grant.group} ${grant.generation}`)))
  return groups.filter(({ name, generation }) => {
    const current = site.groups.find((group) => group.name === name)?.generation ?? 0
    return generation >= current || sealedTo.has(`${name} ${generation}`)
  })
}

function distinct(members: readonly MemberId[]): MemberId[] {
  return [...new Set(members)]
}
