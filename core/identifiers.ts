/** Names and digests, checked once at the door and typed from then on. */
import { GridError } from "./errors.ts"

declare const checked: unique symbol
type Checked<Base, Kind extends string> = Base & { readonly [checked]: Kind }

/** A site's name: lower-case letters, digits and hyphens, 1 to 63 characters. */
export type SiteName = Checked<string, "SiteName">
/** A group's name, of the same form as a site's. */
export type GroupName = Checked<string, "GroupName">
/** An image's name: 1 to 4 segments joined by "/", each of `[a-z0-9._-]` and led by a letter or digit; 128 characters at most. */
export type ImageName = Checked<string, "ImageName">
/** An image's name as a person asks for it: that of an image, with a site's name before it or not. */
export type QueriedName = Checked<string, "QueriedName">
/** An image's version: `[a-z0-9._-]`, led by a letter or digit; 64 characters at most. */
export type ImageVersion = Checked<string, "ImageVersion">
/** A member's id: the first 16 bytes of the SHA-256 of its Ed25519 public key, as 32 hex digits. */
export type MemberId = Checked<string, "MemberId">
/** A SHA-256 digest as 64 lower-case hex digits. */
export type Sha256 = Checked<string, "Sha256">
/** A BitTorrent v1 infohash (BEP 3): SHA-1 of the bencoded info dictionary, as 40 lower-case hex digits. */
export type Infohash = Checked<string, "Infohash">

/** One version of one image, of a site that the context tells. */
export type ImageRef = { readonly name: ImageName; readonly version: ImageVersion }

const LABEL = /^[a-z0-9][a-z0-9-]{0,62}$/
const SEGMENT = /^[a-z0-9][a-z0-9._-]*$/
const VERSION = /^[a-z0-9][a-z0-9._-]{0,63}$/
const MAX_IMAGE_NAME_LENGTH = 128
const MAX_IMAGE_NAME_SEGMENTS = 4

function refuse(what: string, form: string, given: string): never {
  throw new GridError("NAME_INVALID", `${what} ${JSON.stringify(given.slice(0, 200))} is not ${form}`)
}

export function siteName(text: string): SiteName {
  if (!LABEL.test(text)) refuse("site name", "1 to 63 of a-z, 0-9 and -, led by a letter or digit", text)
  return text as SiteName
}

export function groupName(text: string): GroupName {
  if (!LABEL.test(text)) refuse("group name", "1 to 63 of a-z, 0-9 and -, led by a letter or digit", text)
  return text as GroupName
}

/** Reads `GROUP` of the own site, or `SITE/GROUP`; gives it back as it came. */
export function granteeName(text: string): string {
  const [first = "", second, ...more] = text.split("/")
  if (second === undefined) return groupName(first)
  if (more.length > 0) refuse("group", "of the form GROUP or SITE/GROUP", text)
  return `${siteName(first)}/${groupName(second)}`
}

export function imageName(text: string): ImageName {
  const segments = text.split("/")
  if (
    text.length > MAX_IMAGE_NAME_LENGTH ||
    segments.length > MAX_IMAGE_NAME_SEGMENTS ||
    !segments.every((segment) => SEGMENT.test(segment))
  )
    refuse("image name", "1 to 4 segments of a-z, 0-9, '.', '_' and '-' joined by '/', such as hpc/debian", text)
  return text as ImageName
}

export function imageVersion(text: string): ImageVersion {
  if (!VERSION.test(text)) refuse("version", "1 to 64 of a-z, 0-9, '.', '_' and '-', such as 2026.11", text)
  return text as ImageVersion
}

/** Reads `NAME:VERSION`. */
export function imageRef(text: string): ImageRef {
  const { name, version } = imageQuery(text)
  if (version === null) refuse("image", "of the form NAME:VERSION", text)
  return { name: imageName(name), version }
}

/** An image, of its newest version where none is named. */
export type ImageQuery = { readonly name: QueriedName; readonly version: ImageVersion | null }

/** As `imageQuery`, of images of the own site alone. */
export function ownImageQuery(text: string): { readonly name: ImageName; readonly version: ImageVersion | null } {
  const { name, version } = imageQuery(text)
  return { name: imageName(name), version }
}

/** Reads `NAME`, `NAME:VERSION`, and the same with `SITE/` before it; without a version, `version` is null and the newest is meant. */
export function imageQuery(text: string): ImageQuery {
  const colon = text.indexOf(":")
  const name = colon < 0 ? text : text.slice(0, colon)
  const afterFirst = name.slice(name.indexOf("/") + 1)
  // Whether the first segment is a site's name is not for the form to say.
  if (LABEL.test(name.split("/")[0] ?? "") && name.includes("/")) imageName(afterFirst)
  else imageName(name)
  return { name: name as QueriedName, version: colon < 0 ? null : imageVersion(text.slice(colon + 1)) }
}

export function formatImageRef(ref: ImageRef): string {
  return `${ref.name}:${ref.version}`
}

export function memberId(text: string): MemberId {
  if (!/^[0-9a-f]{32}$/.test(text)) refuse("member id", "32 hex digits", text)
  return text as MemberId
}

export function sha256(text: string): Sha256 {
  if (!/^[0-9a-f]{64}$/.test(text)) refuse("SHA-256 digest", "64 hex digits", text)
  return text as Sha256
}

export function infohash(text: string): Infohash {
  if (!/^[0-9a-f]{40}$/.test(text)) refuse("infohash", "40 hex digits", text)
  return text as Infohash
}
