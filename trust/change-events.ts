/**
 * What happened between two catalogs of a site, in words for a log, each with the keys that signed it. Pure.
 *
 * Signers are those of the file as it now is: where several versions of one file were taken at once, those of the last.
 */
import { readGrants, readTags, type Grant, type Grants, type SiteDocument, type Tag } from "#core/documents.ts"
import { parseJson } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { samePaths, sameSigners } from "./change.ts"
import type { Delegation } from "./delegation.ts"
import { countRoots, fileOf, newestRoot, publisherFileOf, siteDocumentOf, targetsOf } from "./files.ts"
import { canonicalJson, digestOf, METADATA_BYTES_MAX, readMetadata, readSigned, validSigners, type SignedBody } from "./metadata.ts"
import { patternsOfPaths } from "./name-patterns.ts"

export type ChangeEvent = {
  readonly event: string
  /** Flat, and never secret: catalogs hold no secrets. */
  readonly what: Readonly<Record<string, string | number>>
  /** TUF key ids. */
  readonly signedBy: readonly string[]
}
export type Happening = Omit<ChangeEvent, "signedBy">

/** A list in a log's line is cut at so many characters: the catalog has all of it. */
const LIST_LENGTH_MAX = 4_000
const ROOT_ROLES = ["root", "targets", "snapshot", "timestamp"] as const

/** @param before, after verified both. Fresh timestamps and snapshots, which servers sign by themselves, are no events. */
export function eventsOf(before: CatalogFiles, after: CatalogFiles): ChangeEvent[] {
  return [
    ...displacedEvents(before, after),
    ...rootEvents(before, after),
    ...targetsEvents(before, after),
    ...publisherEvents(before, after),
  ]
}

/** Two servers took changes of one role at the same moment, and this one's is gone (merge.ts): people have to make it again. */
function displacedEvents(before: CatalogFiles, after: CatalogFiles): ChangeEvent[] {
  const publishers = targetsOf(after).delegations.roles.map(({ name }) => name)
  return ["targets", ...publishers].flatMap((role) => {
    const path = METADATA_PATH(role)
    const [was, is] = [before.get(path), after.get(path)]
    if (was === undefined || is === undefined || was.equals(is)) return []
    const kind = role === "targets" ? "targets" : "publisher"
    const [old, now] = [readSigned(kind, was, role), readSigned(kind, is, role)]
    if (old.signed.version !== now.signed.version || sameBody(old.signed, now.signed)) return []
    const makers = old.signatures.map(({ keyid }) => keyid)
    return [{ event: "displaced", what: { role, version: now.signed.version }, signedBy: makers }]
  })
}

function rootEvents(before: CatalogFiles, after: CatalogFiles): ChangeEvent[] {
  const events: ChangeEvent[] = []
  for (let version = countRoots(before) + 1; version <= countRoots(after); version++) {
    const former = readMetadata("root", fileOf(after, ROOT_PATH(version - 1)))
    const file = readSigned("root", fileOf(after, ROOT_PATH(version)), `root ${version}`)
    const root = file.signed
    const mayHaveSigned = [...new Set([...former.roles.root.keyids, ...root.roles.root.keyids])]
    const changed = ROOT_ROLES.filter((role) => !sameSigners(former.roles[role], root.roles[role])).map((role) => ({
      event: "role-changed",
      what: { role, ...signers(root.roles[role]) },
    }))
    const signedBy = validSigners(file, mayHaveSigned, { ...former.keys, ...root.keys })
    events.push(...signed(changed.length > 0 ? changed : [renewed("root", root)], signedBy))
  }
  return events
}

function targetsEvents(before: CatalogFiles, after: CatalogFiles): ChangeEvent[] {
  const [old, now] = [targetsOf(before), targetsOf(after)]
  if (sameBody(old, now)) return []
  const changed = [...siteEvents(siteDocumentOf(before), siteDocumentOf(after)), ...delegationEvents(old, now)]
  return signed(changed.length > 0 ? changed : [renewed("targets", now)], targetsSigners(after))
}

function delegationEvents(before: SignedBody<"targets">, after: SignedBody<"targets">): Happening[] {
  const former = new Map(before.delegations.roles.map((role) => [role.name, role]))
  const events: Happening[] = []
  for (const role of after.delegations.roles) {
    const old = former.get(role.name)
    former.delete(role.name)
    if (old !== undefined && sameSigners(role, old) && samePaths(role, old)) continue
    events.push({ event: old === undefined ? "publisher-added" : "publisher-changed", what: publisherDetails(role) })
  }
  for (const publisher of former.keys()) events.push({ event: "publisher-removed", what: { publisher } })
  return events
}

type SiteField = keyof SiteDocument
/** Fields of the site document whose changes have events of their own. */
const TOLD_FIELDS: ReadonlySet<string> = new Set<SiteField>([
  "authorities",
  "pointerKey",
  "groups",
  "networkKeys",
  "revoked",
  "federation",
  "retention",
])

export function siteEvents(before: SiteDocument, after: SiteDocument): Happening[] {
  const events: Happening[] = []
  events.push(...ringEvents("authority", authorityDigests(before), authorityDigests(after)))
  events.push(...ringEvents("network-key", before.networkKeys, after.networkKeys))
  if (before.pointerKey !== after.pointerKey) events.push({ event: "pointer-key-changed", what: { key: after.pointerKey } })
  events.push(...groupEvents(before, after))
  for (const id of added(before.revoked, after.revoked)) events.push({ event: "revoked", what: { id } })
  for (const id of added(after.revoked, before.revoked)) events.push({ event: "revocation-lifted", what: { id } })
  events.push(...federationEvents(before, after))
  events.push(...ruleEvents(before, after))
  for (const field of new Set([...Object.keys(before), ...Object.keys(after)]) as Set<SiteField>)
    if (!TOLD_FIELDS.has(field) && JSON.stringify(before[field]) !== JSON.stringify(after[field]))
      events.push({ event: "site-changed", what: { field } })
  return events
}

function ruleEvents(before: SiteDocument, after: SiteDocument): Happening[] {
  const words: Readonly<Record<"retention" | "placement" | "weights", string>> = {
    retention: listOf(after.retention.map(({ names, keepLast }) => `${names.join("+")}: last ${keepLast}`)),
    placement: listOf(after.placement.map(placementWords)),
    weights: listOf(after.weights.map(({ memberId, weight }) => `${memberId}: ${weight}`)),
  }
  return (["retention", "placement", "weights"] as const)
    .filter((field) => JSON.stringify(before[field]) !== JSON.stringify(after[field]))
    .map((field) => ({ event: `${field}-changed`, what: { rules: words[field] } }))
}

function placementWords({ names, copies, sites, pins, refuse }: SiteDocument["placement"][number]): string {
  const more = [pins.length > 0 && `on ${pins.join("+")}`, refuse.length > 0 && `not on ${refuse.join("+")}`].filter(
    (word) => word !== false,
  )
  return [`${names.join("+")}: ${copies} on ${sites} sites`, ...more].join(" ")
}

function federationEvents(before: SiteDocument, after: SiteDocument): Happening[] {
  const former = new Map(before.federation.map((agreement) => [agreement.site, agreement]))
  const events: Happening[] = []
  for (const agreement of after.federation) {
    const { site, rootDigest, shares, mirrors, endedAtMs } = agreement
    const old = former.get(site)
    former.delete(site)
    if (old !== undefined && JSON.stringify(old) === JSON.stringify(agreement)) continue
    const what = { site, rootDigest, shares: listOf(shares), mirrors: listOf(mirrors) }
    if (endedAtMs !== null && old?.endedAtMs === null) events.push({ event: "federation-ended", what: { site } })
    else events.push({ event: old === undefined || old.endedAtMs !== null ? "federated" : "federation-changed", what })
  }
  for (const site of former.keys()) events.push({ event: "federation-forgotten", what: { site } })
  return events
}

function authorityDigests({ authorities }: SiteDocument): string[] {
  return authorities.map((der) => digestOf(Buffer.from(der, "base64")))
}

/** Of a list whose first is in force, by digests. */
function ringEvents(what: string, before: readonly string[], after: readonly string[]): Happening[] {
  const events: Happening[] = []
  for (const digest of added(before, after)) events.push({ event: `${what}-added`, what: { digest } })
  for (const digest of added(after, before)) events.push({ event: `${what}-removed`, what: { digest } })
  const [inForce] = after
  if (inForce !== undefined && inForce !== before[0]) events.push({ event: `${what}-in-force`, what: { digest: inForce } })
  return events
}

function groupEvents(before: SiteDocument, after: SiteDocument): Happening[] {
  const former = new Map(before.groups.map((group) => [group.name, group]))
  const events: Happening[] = []
  for (const { name, generation, publicKey, ...lists } of after.groups) {
    const old = former.get(name)
    former.delete(name)
    if (old === undefined) events.push({ event: "group-added", what: { group: name, generation } })
    else if (old.generation !== generation || old.publicKey !== publicKey)
      events.push({ event: "group-key-rotated", what: { group: name, generation } })
    for (const memberId of added(old?.added ?? [], lists.added))
      events.push({ event: "group-member-added", what: { group: name, memberId } })
    for (const memberId of added(old?.removed ?? [], lists.removed))
      events.push({ event: "group-member-removed", what: { group: name, memberId } })
    // From then on the member's certificate alone says whether it is in the group.
    const listed = new Set([...lists.added, ...lists.removed])
    for (const memberId of [...(old?.added ?? []), ...(old?.removed ?? [])])
      if (!listed.has(memberId)) events.push({ event: "group-member-unlisted", what: { group: name, memberId } })
  }
  for (const group of former.keys()) events.push({ event: "group-removed", what: { group } })
  return events
}

function publisherEvents(before: CatalogFiles, after: CatalogFiles): ChangeEvent[] {
  const { delegations } = targetsOf(after)
  const left = new Set(pathsIn(before, "images"))
  const tagsLeft = new Set(pathsIn(before, "tags"))
  const events: ChangeEvent[] = []
  for (const role of delegations.roles) {
    const path = METADATA_PATH(role.name)
    const file = readSigned("publisher", fileOf(after, path), role.name)
    const listed = Object.keys(file.signed.targets)
    for (const one of listed) {
      left.delete(one)
      tagsLeft.delete(one)
    }
    if (before.get(path)?.equals(fileOf(after, path)) === true) continue
    const changed = listed.flatMap((target) => {
      const old = before.get(TARGET_PREFIX + target)
      if (old?.equals(fileOf(after, TARGET_PREFIX + target)) === true) return []
      if (target.startsWith("grants/")) return grantEvents(target, before, after)
      if (target.startsWith("tags/")) return tagEvents(target, before, after)
      return old === undefined ? [{ event: "published", what: { image: imageOf(target), publisher: role.name } }] : []
    })
    const isNew = !before.has(path)
    const resigned = !isNew && !sameBody(publisherFileOf(before, role.name), file.signed)
    const told = changed.length > 0 || !resigned ? changed : [renewed(role.name, file.signed)]
    events.push(...signed(told, validSigners(file, role.keyids, delegations.keys)))
  }
  // A version goes only with its publisher, or with a name that its publisher may sign no longer.
  const withdrawn = [...left].map((path) => ({ event: "withdrawn", what: { image: imageOf(path) } }))
  const untagged = [...tagsLeft].flatMap((path) => tagEvents(path, before, after))
  return [...events, ...signed([...withdrawn, ...untagged], targetsSigners(after))]
}

function grantEvents(path: string, old: CatalogFiles, now: CatalogFiles): Happening[] {
  const [before, after] = [grantsIn(old, path), grantsIn(now, path)]
  const [former, current] = [before?.grants ?? [], after?.grants ?? []]
  const sealed = new Set(former.map((grant) => grant.sealed))
  const kept = new Set(current.map(groupKeyOf))
  const image = imageOf(path)
  const details = ({ group, generation }: Grant) => ({ image, group, generation })
  const events: Happening[] = [
    ...current.filter((grant) => !sealed.has(grant.sealed)).map((grant) => ({ event: "granted", what: details(grant) })),
    ...former.filter((grant) => !kept.has(groupKeyOf(grant))).map((grant) => ({ event: "ungranted", what: details(grant) })),
  ]
  const wasRetired = before !== null && before.retiredAtMs !== null
  const isRetired = after !== null && after.retiredAtMs !== null
  if (wasRetired !== isRetired) events.push({ event: isRetired ? "retired" : "revived", what: { image } })
  if ((before?.pinned ?? false) !== (after?.pinned ?? false))
    events.push({ event: after?.pinned === true ? "pinned" : "unpinned", what: { image } })
  return events
}

function tagEvents(path: string, old: CatalogFiles, now: CatalogFiles): Happening[] {
  const [before, after] = [tagsIn(old, path), tagsIn(now, path)]
  const name = path.replace(/^tags\/(.+)\.json$/, "$1")
  const former = new Map(before.map((one) => [one.tag, one.version]))
  const events: Happening[] = []
  for (const { tag, version } of after) {
    const was = former.get(tag)
    former.delete(tag)
    if (was !== version) events.push({ event: "tagged", what: { image: `${name}:${version}`, tag, ...(was !== undefined && { was }) } })
  }
  for (const [tag, version] of former) events.push({ event: "untagged", what: { image: `${name}:${version}`, tag } })
  return events
}

function tagsIn(files: CatalogFiles, path: string): readonly Tag[] {
  const bytes = files.get(TARGET_PREFIX + path)
  return bytes === undefined ? [] : readTags(parseJson(bytes, METADATA_BYTES_MAX, "CATALOG_INVALID", path)).tags
}

function groupKeyOf({ group, generation }: Grant): string {
  return `${group} ${generation}`
}

function grantsIn(files: CatalogFiles, path: string): Grants | null {
  const bytes = files.get(TARGET_PREFIX + path)
  return bytes === undefined ? null : readGrants(parseJson(bytes, METADATA_BYTES_MAX, "CATALOG_INVALID", path))
}

/** Target paths of all documents of a kind. */
function pathsIn(files: CatalogFiles, kind: "images" | "tags"): string[] {
  return [...files.keys()].filter((path) => path.startsWith(`${TARGET_PREFIX}${kind}/`)).map((path) => path.slice(TARGET_PREFIX.length))
}

/** `NAME:VERSION` of a document's path. */
function imageOf(path: string): string {
  return path.replace(/^[a-z]+\/(.+)\/([^/]+)\.json$/, "$1:$2")
}

function targetsSigners(files: CatalogFiles): string[] {
  const root = newestRoot(files)
  return validSigners(readSigned("targets", fileOf(files, METADATA_PATH("targets")), "targets"), root.roles.targets.keyids, root.keys)
}

function publisherDetails(role: Delegation): Happening["what"] {
  return { publisher: role.name, names: listOf(patternsOfPaths(role.paths)), ...signers(role) }
}

function signers({ keyids, threshold }: { readonly keyids: readonly string[]; readonly threshold: number }): Happening["what"] {
  return { keys: listOf([...keyids].sort()), threshold }
}

/** A file of people's was signed anew and says nothing else than before, but for its version and expiry. */
function renewed(role: string, body: { readonly version: number; readonly expires: string }): Happening {
  return { event: "role-renewed", what: { role, version: body.version, expiresAtMs: Date.parse(body.expires) } }
}

function signed(events: readonly Happening[], signedBy: readonly string[]): ChangeEvent[] {
  return events.map((event) => ({ ...event, signedBy }))
}

function sameBody(a: unknown, b: unknown): boolean {
  return canonicalJson(a).equals(canonicalJson(b))
}

function added(before: readonly string[], after: readonly string[]): string[] {
  const known = new Set(before)
  return after.filter((one) => !known.has(one))
}

function listOf(words: readonly string[]): string {
  let text = ""
  for (const [position, word] of words.entries()) {
    if (text.length + word.length > LIST_LENGTH_MAX) return `${text} and ${words.length - position} more`
    text += position === 0 ? word : ` ${word}`
  }
  return text
}
