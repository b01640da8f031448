/** News among the members of one site (`ig_site`, docs/protocol.md), between values and bytes: bounded in number and form. */
import bencode from "bencode"
import { readBencoded } from "#core/strict-bencode.ts"
import type { SiteNews } from "./core/events.ts"
import type { SiteMember } from "./core/gateways.ts"
import { defaultLimits } from "./core/limits.ts"
import { addressAt, compact, dictionary, refuse, wholeNumber } from "./extension-values.ts"

/** Bytes of one member in news of a site: id, flags, address, age in hundredths of a second, rate. */
const SITE_MEMBER_BYTES = 29
const MEMBER_ID_BYTES = 16
const HOLDS = 1
const FETCHES = 2
const SERVER = 4

export function encodeSiteNews({ members, crossing, budgetBytesPerSecond }: SiteNews): Buffer {
  const pieces = Buffer.alloc(4 * crossing.length)
  for (const [index, piece] of crossing.entries()) pieces.writeUInt32BE(piece, 4 * index)
  return Buffer.from(
    bencode.encode({
      ...(budgetBytesPerSecond === null ? {} : { b: Math.floor(budgetBytesPerSecond) }),
      c: pieces,
      ...(members === null ? {} : { m: Buffer.concat(members.map(siteMemberBytes)) }),
    }),
  )
}

function siteMemberBytes({ key, server, duty, address, quietMs, sentBytesPerSecond }: SiteMember): Buffer {
  const bytes = Buffer.alloc(SITE_MEMBER_BYTES)
  bytes.write(key, "hex")
  bytes[16] = (duty === "holds" ? HOLDS : duty === "fetches" ? FETCHES : 0) | (server ? SERVER : 0)
  if (address !== null) compact(address).copy(bytes, 17)
  bytes.writeUInt16BE(Math.min(0xffff, Math.round(quietMs / 10)), 23)
  bytes.writeUInt32BE(Math.min(0xffffffff, Math.round(sentBytesPerSecond)), 25)
  return bytes
}

/** @throws {GridError} PEER_MISBEHAVED */
export function decodeSiteNews(payload: Buffer): SiteNews {
  const { value, end } = readBencoded(payload)
  const fields = dictionary(value)
  const pieces = fields.get("c")
  const told = fields.get("m") ?? null
  if (!Buffer.isBuffer(pieces) || pieces.length % 4 !== 0 || pieces.length > 4 * defaultLimits.claims)
    refuse("news of the site with pieces out of form")
  if (
    told !== null &&
    (!Buffer.isBuffer(told) || told.length % SITE_MEMBER_BYTES !== 0 || told.length > SITE_MEMBER_BYTES * defaultLimits.siteMembersTold)
  )
    refuse("news of the site with members out of form")
  if (end !== payload.length) refuse("news of the site with more behind it")
  return {
    members:
      told === null
        ? null
        : Array.from({ length: told.length / SITE_MEMBER_BYTES }, (_, index) => siteMember(told.subarray(index * SITE_MEMBER_BYTES))),
    crossing: Array.from({ length: pieces.length / 4 }, (_, index) => pieces.readUInt32BE(4 * index)),
    budgetBytesPerSecond: wholeNumber(fields.get("b"), 1, Number.MAX_SAFE_INTEGER),
  }
}

function siteMember(bytes: Buffer): SiteMember {
  const flags = bytes[16] ?? 0
  return {
    key: bytes.toString("hex", 0, MEMBER_ID_BYTES),
    server: (flags & SERVER) !== 0,
    duty: (flags & HOLDS) !== 0 ? "holds" : (flags & FETCHES) !== 0 ? "fetches" : "none",
    address: addressAt(bytes, 17),
    quietMs: 10 * bytes.readUInt16BE(23),
    sentBytesPerSecond: bytes.readUInt32BE(25),
  }
}
