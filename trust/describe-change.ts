/**
 * What a change would change, in words for the people who are to sign it: computed from what their signatures would be over, and from nothing
 * that the file says about itself. Pure.
 *
 * Invariant: whatever is different has a line that says so.
 */
import { isAttachment, layerOf, readGrants, readManifest, readTags, type Grant, type SiteDocument, type Tag } from "#core/documents.ts"
import { formatAppliesTo } from "#core/overrides.ts"
import { parseJson } from "#core/schema.ts"
import { METADATA_PATH, ROOT_PATH, TARGET_PREFIX, type CatalogFiles } from "./catalog-file.ts"
import { samePaths, sameSigners } from "./change.ts"
import { siteEvents, type Happening } from "./change-events.ts"
import type { CarriedChange } from "./change-file.ts"
import type { Delegation } from "./delegation.ts"
import { fileOf, newestRoot, publisherFileOf, siteDocumentOf, targetsOf } from "./files.ts"
import { canonicalJson, METADATA_BYTES_MAX, type SignedBody } from "./metadata.ts"
import { patternsOfPaths } from "./name-patterns.ts"

const DIGITS_SHOWN = 16
const ROOT_ROLES = ["root", "targets", "snapshot", "timestamp"] as const
const ONLY_RENEWED = "nothing else is different: it is signed anew for its expiry"
/** A mark before what comes, what goes and what stays. */
const [COMES, GOES, STAYS] = ["+", "-", " "]

/** A key id or a digest as people compare it. */
export function shortDigest(digest: string): string {
  return digest.slice(0, DIGITS_SHOWN)
}

/**
 * Lines: first what each file is, then, further in, what is different in it. `+` and `-` mark what comes and what goes.
 * @param carried as `decodeChange` returned it, or drafted here
 * @throws {GridError} CATALOG_INVALID
 */
export function describeChange({ change, files }: CarriedChange): string[] {
  const after = new Map([...files, ...change])
  return [...rootLines(files, after), ...targetsLines(files, after), ...publisherLines(files, after)]
}

function rootLines(files: CatalogFiles, after: CatalogFiles): string[] {
  const [before, root] = [newestRoot(files), newestRoot(after)]
  if (!after.has(ROOT_PATH(before.version + 1))) return []
  const lines = ROOT_ROLES.flatMap((role) => signerLines(`${role}: `, before.roles[role], root.roles[role]))
  const used = new Set(Object.values(root.roles).flatMap(({ keyids }) => keyids))
  for (const id of Object.keys(root.keys)) if (!used.has(id)) lines.push(`lists key ${shortDigest(id)}, which signs for nobody`)
  const { version, expires } = before
  const nothing = sameBody({ ...root, version, expires }, before)
  return file("root", root, before, nothing ? [ONLY_RENEWED, ...lines] : lines)
}

function targetsLines(files: CatalogFiles, after: CatalogFiles): string[] {
  const [before, targets] = [targetsOf(files), targetsOf(after)]
  if (sameBody(before, targets)) return []
  const lines = [
    ...siteLines(siteDocumentOf(files), siteDocumentOf(after)),
    ...delegationLines(files, before.delegations, targets.delegations),
  ]
  return file("targets", targets, before, lines.length === 0 ? [ONLY_RENEWED] : lines)
}

/** Each field on its own, so that none is passed over because another one had something to tell. */
function siteLines(before: SiteDocument, after: SiteDocument): string[] {
  const lines: string[] = []
  for (const field of new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof SiteDocument>) {
    if (JSON.stringify(before[field]) === JSON.stringify(after[field])) continue
    const events = siteEvents(before, { ...before, [field]: after[field] })
    lines.push(...events.map((event) => siteWords(event, before, after)))
    if (events.length === 0) lines.push(`site document: ${field} lists the same in another order, or some of it twice`)
  }
  const names = after.groups.map(({ name }) => name)
  for (const name of new Set(names.filter((one, position) => names.indexOf(one) !== position)))
    lines.push(`site document: lists group ${name} twice; the first counts`)
  return lines
}

function siteWords({ event, what }: Happening, before: SiteDocument, after: SiteDocument): string {
  const of = (name: string): string => String(what[name])
  const groupKey = (document: SiteDocument): string => {
    const group = document.groups.find(({ name }) => name === of("group"))
    return `generation ${group?.generation}, public key ${shortDigest(group?.publicKey ?? "")}`
  }
  switch (event) {
    case "authority-added":
      return `${COMES} authority ${shortDigest(of("digest"))}: members with its certificates are admitted`
    case "authority-removed":
      return `${GOES} authority ${shortDigest(of("digest"))}: members with its certificates are admitted no more`
    case "authority-in-force":
      return `authority that issues: ${shortDigest(of("digest"))}`
    case "network-key-added":
      return `${COMES} network key ${shortDigest(of("digest"))}`
    case "network-key-removed":
      return `${GOES} network key ${shortDigest(of("digest"))}`
    case "network-key-in-force":
      return `network key in force: ${shortDigest(of("digest"))}`
    case "pointer-key-changed":
      return `pointer key: ${shortDigest(after.pointerKey)} (was ${shortDigest(before.pointerKey)})`
    case "group-added":
      return `${COMES} group ${of("group")}: ${groupKey(after)}`
    case "group-removed":
      return `${GOES} group ${of("group")}`
    case "group-key-rotated":
      return `group ${of("group")}: ${groupKey(after)} (was ${groupKey(before)})`
    case "group-member-added":
      return `group ${of("group")}: ${COMES} member ${of("memberId")} is in it`
    case "group-member-removed":
      return `group ${of("group")}: ${GOES} member ${of("memberId")} is not in it`
    case "group-member-unlisted":
      return `group ${of("group")}: for member ${of("memberId")} its certificate alone counts`
    case "revoked":
      return `${COMES} revoked: ${of("id")}`
    case "revocation-lifted":
      return `${GOES} revoked: ${of("id")}, which is admitted again`
    case "federated":
    case "federation-changed":
      return `site ${of("site")}, root digest ${of("rootDigest")}: its members may have ${of("shares") || "no image"}; of its images copies are kept of ${of("mirrors") || "none"}`
    case "federation-ended":
      return `${GOES} site ${of("site")}: the agreement with it ends`
    case "federation-forgotten":
      return `${GOES} site ${of("site")}: nothing of it is admitted`
    case "retention-changed":
      return `versions that stay in use when a new one is published: ${of("rules") || "all"}`
    case "placement-changed":
      return `copies that there are to be: ${of("rules") || "one on each server that may hold an image"}`
    case "weights-changed":
      return `servers' shares of the copies: ${of("rules") || "all alike"}`
    case "site-changed": {
      const field = of("field") as keyof SiteDocument
      return `site document: ${field} is ${JSON.stringify(after[field]) ?? "gone"} (was ${JSON.stringify(before[field]) ?? "not there"})`
    }
    default:
      return `${event}: ${JSON.stringify(what)}`
  }
}

/** All publishers, not only those that differ: who may sign images is what most depends on. */
function delegationLines(
  files: CatalogFiles,
  before: SignedBody<"targets">["delegations"],
  after: SignedBody<"targets">["delegations"],
): string[] {
  if (sameBody(before, after)) return []
  const lines: string[] = []
  for (const role of after.roles) {
    const old = before.roles.find(({ name }) => name === role.name)
    if (old !== undefined && sameSigners(role, old) && samePaths(role, old) && role.terminating === old.terminating) {
      lines.push(`${STAYS} publisher ${role.name} stays as it is`)
      continue
    }
    lines.push(`${old === undefined ? COMES : STAYS} publisher ${role.name}`)
    const names = marked(old === undefined ? [] : patternsOfPaths(old.paths), patternsOfPaths(role.paths))
    lines.push(...names.map(({ mark, word }) => `    ${mark} may sign ${word}`))
    lines.push(...signerLines("", old ?? null, role).map((line) => `    ${line}`))
    if (!role.terminating) lines.push("    other publishers may sign the same names after it")
  }
  for (const { name } of before.roles) {
    if (after.roles.some((role) => role.name === name)) continue
    lines.push(`${GOES} publisher ${name}`)
    for (const path of Object.keys(publisherFileOf(files, name).targets))
      if (!path.startsWith("grants/"))
        lines.push(`    ${GOES} ${documentWords(path)}, unless another publisher signs ${path.startsWith("tags/") ? "them" : "it"}`)
  }
  if (namesKept(after.roles, before.roles) !== namesKept(before.roles, after.roles))
    lines.push(`publishers in another order: ${after.roles.map(({ name }) => name).join(", ")}`)
  return lines
}

function namesKept(roles: readonly Delegation[], others: readonly Delegation[]): string {
  return roles.flatMap(({ name }) => (others.some((role) => role.name === name) ? [name] : [])).join(", ")
}

type Signers = { readonly keyids: readonly string[]; readonly threshold: number }

function signerLines(what: string, before: Signers | null, after: Signers): string[] {
  const { threshold, keyids } = after
  const was =
    before !== null && (before.threshold !== threshold || before.keyids.length !== keyids.length)
      ? ` (was ${before.threshold} of ${before.keyids.length})`
      : ""
  const head = `${what}${threshold} of ${keyids.length} key${keyids.length === 1 ? "" : "s"} must sign${was}`
  return [head, ...marked(before?.keyids ?? [], keyids).map(({ mark, word }) => `    ${mark} ${shortDigest(word)}`)]
}

function publisherLines(files: CatalogFiles, after: CatalogFiles): string[] {
  return targetsOf(after).delegations.roles.flatMap(({ name }) => {
    const path = METADATA_PATH(name)
    if (!after.has(path) || files.get(path)?.equals(fileOf(after, path)) === true) return []
    const before = files.has(path) ? publisherFileOf(files, name) : null
    const next = publisherFileOf(after, name)
    const lines: string[] = []
    for (const [target, { hashes }] of Object.entries(next.targets)) {
      const old = before?.targets[target]
      if (old?.hashes.sha256 === hashes.sha256) continue
      if (target.startsWith("images/")) lines.push(...manifestLines(after, target, old !== undefined))
      else lines.push(...(target.startsWith("tags/") ? tagLines : grantLines)(files, after, target))
    }
    for (const target of Object.keys(before?.targets ?? {}))
      if (next.targets[target] === undefined) lines.push(`${GOES} ${documentWords(target)}`)
    return file(`publisher ${name}`, next, before, lines.length > 0 ? lines : [before === null ? "signs no image yet" : ONLY_RENEWED])
  })
}

function manifestLines(after: CatalogFiles, target: string, replaces: boolean): string[] {
  const manifest = readManifest(documentAt(after, target))
  const layers = `layers ${manifest.layers.map(({ sealedSha256 }) => shortDigest(sealedSha256)).join(", ")}`
  const from = manifest.lineage === null ? "" : `, made from ${manifest.lineage.versions.at(-1)?.version ?? ""}`
  const beside = manifest.layers
    .filter(({ kind }) => isAttachment(kind))
    .map(({ kind, appliesTo }) => (appliesTo === undefined ? kind : `an override for ${formatAppliesTo(appliesTo)}`))
  const attached = beside.length === 0 ? "" : `, with ${beside.join(", ")}`
  return [
    `${replaces ? `${GOES}${COMES}` : COMES} ${imageOf(target)}: ${manifest.entryCount} entries, ${layerOf(manifest, "full").contentBytes} bytes, ${layers}${from}${attached}, ` +
      `made at ${new Date(manifest.publishedAtMs).toISOString()}${replaces ? ", in place of what it was" : ""}`,
  ]
}

function grantLines(files: CatalogFiles, after: CatalogFiles, target: string): string[] {
  const old = files.has(TARGET_PREFIX + target) ? readGrants(documentAt(files, target)) : null
  const before: readonly Grant[] = old?.grants ?? []
  const { grants, retiredAtMs, pinned } = readGrants(documentAt(after, target))
  const image = imageOf(target)
  const words = ({ group, generation }: Grant): string => `grant of ${image} to group ${group}, generation ${generation}`
  const [former, next] = [new Set(before.map(whole)), new Set(grants.map(whole))]
  const lines = [
    ...grants.filter((grant) => !former.has(whole(grant))).map((grant) => `${COMES} ${words(grant)}`),
    ...before.filter((grant) => !next.has(whole(grant))).map((grant) => `${GOES} ${words(grant)}`),
  ]
  if ((old?.retiredAtMs ?? null) !== retiredAtMs)
    lines.push(
      retiredAtMs === null
        ? `${COMES} ${image} is in use again`
        : `${GOES} ${image} is out of use from ${new Date(retiredAtMs).toISOString()}`,
    )
  if ((old?.pinned ?? false) !== pinned)
    lines.push(pinned ? `${COMES} ${image} is pinned: no rule retires it` : `${GOES} ${image} is pinned no more`)
  return lines.length > 0 ? lines : [`grants of ${image}, as they will stand:`, ...grants.map((grant) => `    ${words(grant)}`)]
}

function tagLines(files: CatalogFiles, after: CatalogFiles, target: string): string[] {
  const name = nameOfTags(target)
  const before: readonly Tag[] = files.has(TARGET_PREFIX + target) ? readTags(documentAt(files, target)).tags : []
  const { tags } = readTags(documentAt(after, target))
  const former = new Map(before.map((one) => [one.tag, one]))
  const next = new Set(tags.map(({ tag }) => tag))
  const lines = tags.flatMap(({ tag, version, movedAtMs }) => {
    const old = former.get(tag)
    if (old?.version === version && old.movedAtMs === movedAtMs) return []
    const was = old === undefined || old.version === version ? "" : ` (was ${old.version})`
    return [`${COMES} tag ${name}:${tag} names version ${version} from ${new Date(movedAtMs).toISOString()}${was}`]
  })
  lines.push(
    ...before.filter(({ tag }) => !next.has(tag)).map(({ tag, version }) => `${GOES} tag ${name}:${tag}, which named version ${version}`),
  )
  return lines.length > 0
    ? lines
    : [`tags of ${name}, as they will stand: ${tags.map(({ tag, version }) => `${tag} ${version}`).join(", ") || "none"}`]
}

function whole({ group, generation, sealed }: Grant): string {
  return `${group} ${generation} ${sealed}`
}

/** What a file is called, and what is different in it. */
function file(
  what: string,
  now: { readonly version: number; readonly expires: string; readonly spec_version: string },
  before: { readonly version: number; readonly expires: string; readonly spec_version: string } | null,
  lines: readonly string[],
): string[] {
  const after = before === null ? "new" : `after ${before.version}`
  const spec = before !== null && before.spec_version !== now.spec_version ? `; TUF ${now.spec_version}, was ${before.spec_version}` : ""
  const until = before === null ? "" : ` (was ${before.expires})`
  return [`${what}, version ${now.version} (${after}): good until ${now.expires}${until}${spec}`, ...lines.map((line) => `  ${line}`)]
}

/** What stays and comes in its new order, then what goes. */
function marked(before: readonly string[], after: readonly string[]): { readonly mark: string; readonly word: string }[] {
  return [
    ...after.map((word) => ({ mark: before.includes(word) ? STAYS : COMES, word })),
    ...before.filter((word) => !after.includes(word)).map((word) => ({ mark: GOES, word })),
  ]
}

function documentWords(path: string): string {
  if (path.startsWith("images/")) return imageOf(path)
  return path.startsWith("tags/") ? `tags of ${nameOfTags(path)}` : `grants of ${imageOf(path)}`
}

function nameOfTags(path: string): string {
  return path.replace(/^tags\/(.+)\.json$/, "$1")
}

/** `NAME:VERSION` of a document's path. */
function imageOf(path: string): string {
  return path.replace(/^[a-z]+\/(.+)\/([^/]+)\.json$/, "$1:$2")
}

function documentAt(files: CatalogFiles, target: string): unknown {
  return parseJson(fileOf(files, TARGET_PREFIX + target), METADATA_BYTES_MAX, "CATALOG_INVALID", target)
}

function sameBody(a: unknown, b: unknown): boolean {
  return canonicalJson(a).equals(canonicalJson(b))
}
