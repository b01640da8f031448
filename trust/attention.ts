/** What of a site's signed metadata people should look after, and how, weeks before it stops anything. Pure. */
import { X509Certificate } from "node:crypto"
import type { Catalog, CatalogRole } from "./catalog.ts"
import { defaultLifetimes } from "./lifetimes.ts"

export type Attention = {
  /** The role or thing it is about. */
  readonly about: string
  readonly code: "expired" | "expires-urgently" | "expires-soon" | "not-refreshed" | "one-key"
  /** What it is, and what to do. */
  readonly detail: string
  /** Unix ms when it ends, or has ended; null for what has no end. */
  readonly atMs: number | null
}

const DAY_MS = 24 * 3_600_000
const SOON_MS = 60 * DAY_MS
const URGENT_MS = 14 * DAY_MS
/** A new authority takes longest to reach everybody. */
const AUTHORITY_SOON_MS = 180 * DAY_MS
/** Of its life: servers sign anew when half of it is left. */
const REFRESHED_SHARE = 0.25

/** The most urgent first. */
export function attentionOf(catalog: Pick<Catalog, "roles" | "site">, nowMs: number): Attention[] {
  const items = [
    ...catalog.roles.flatMap((role) => (isOnline(role) ? notRefreshed(role, nowMs) : roleExpiry(role, nowMs))),
    ...catalog.site.authorities.flatMap((der, position) => authorityExpiry(der, position, nowMs)),
    ...catalog.roles.filter((role) => !isOnline(role) && role.keyIds.length === 1).map(oneKey),
  ]
  return items.sort((a, b) => order.indexOf(a.code) - order.indexOf(b.code) || (a.atMs ?? 0) - (b.atMs ?? 0))
}

const order: readonly Attention["code"][] = ["expired", "expires-urgently", "expires-soon", "not-refreshed", "one-key"]

function isOnline({ name, paths }: CatalogRole): boolean {
  return paths === null && (name === "snapshot" || name === "timestamp")
}

function roleExpiry({ name, expiresAtMs }: CatalogRole, nowMs: number): Attention[] {
  const code = expiryCode(expiresAtMs - nowMs, SOON_MS)
  if (code === null) return []
  const renew = `its holders sign it anew: 'imagegrid trust propose ${name}.change --role ${name} --renew', then 'trust sign' and 'trust apply'`
  if (code !== "expired") return [{ about: name, code, detail: `${name} ends at ${iso(expiresAtMs)}; ${renew}`, atMs: expiresAtMs }]
  const stops = name === "root" || name === "targets" ? "members take nothing of the site until" : "its images are not deployed until"
  return [
    {
      about: name,
      code,
      detail: `${name} ended at ${iso(expiresAtMs)}, and ${stops} ${renew}. What is installed goes on`,
      atMs: expiresAtMs,
    },
  ]
}

function notRefreshed({ name, expiresAtMs }: CatalogRole, nowMs: number): Attention[] {
  const leftMs = expiresAtMs - nowMs
  const lifeMs = name === "timestamp" ? defaultLifetimes.timestamp : defaultLifetimes.snapshot
  if (leftMs > lifeMs * REFRESHED_SHARE) return []
  const code = leftMs <= 0 ? "expired" : "not-refreshed"
  const detail = `${name} ${leftMs <= 0 ? "ended" : "ends"} at ${iso(expiresAtMs)} and servers sign it by themselves; see that one with the online keys runs and is reached`
  return [{ about: name, code, detail, atMs: expiresAtMs }]
}

function authorityExpiry(der: string, position: number, nowMs: number): Attention[] {
  const atMs = new X509Certificate(Buffer.from(der, "base64")).validToDate.getTime()
  const code = expiryCode(atMs - nowMs, AUTHORITY_SOON_MS)
  // One that was replaced goes by itself.
  if (code === null || position > 0) return []
  return [
    {
      about: "authority",
      code,
      detail: `the certificate authority ends at ${iso(atMs)}; 'imagegrid rotate authority' makes another`,
      atMs,
    },
  ]
}

function oneKey({ name }: CatalogRole): Attention {
  const detail = `one key signs for ${name}: whoever has it can, and if it is lost nobody can; 'imagegrid trust propose --role ${name} --add-key' adds another`
  return { about: name, code: "one-key", detail, atMs: null }
}

function expiryCode(leftMs: number, soonMs: number): "expired" | "expires-urgently" | "expires-soon" | null {
  if (leftMs <= 0) return "expired"
  if (leftMs <= URGENT_MS) return "expires-urgently"
  return leftMs <= soonMs ? "expires-soon" : null
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString().slice(0, 16) + "Z"
}
