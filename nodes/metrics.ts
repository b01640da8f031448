/**
 * A server's figures in Prometheus' text format (version 0.0.4), as /metrics serves them. Names and units are documented in docs/operating.md:
 * others build alarms on them.
 */
import { defaultLifetimes } from "#trust/lifetimes.ts"
import type { Catalog } from "#trust/catalog.ts"

export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

type Sample = { readonly labels?: Readonly<Record<string, string>>; readonly value: number }
export type Gauge = { readonly name: string; readonly help: string; readonly samples: readonly Sample[] }

export type Measured = {
  readonly catalog: Pick<Catalog, "roles" | "seq" | "site">
  readonly certificateExpiresAtMs: number
  readonly layersHeld: number
  readonly audit: { readonly entries: number; readonly fault: string | null }
  readonly nowMs: number
}

export function gaugesOf({ catalog, certificateExpiresAtMs, layersHeld, audit, nowMs }: Measured): Gauge[] {
  const { roles } = catalog
  const secondsTo = (atMs: number) => (atMs - nowMs) / 1_000
  const signedAtMs = (roles.find(({ name }) => name === "timestamp")?.expiresAtMs ?? nowMs) - defaultLifetimes.timestamp
  return [
    {
      name: "imagegrid_role_expiry_seconds",
      help: "Seconds until the signatures of a role expire; below zero when they have.",
      samples: roles.map(({ name, expiresAtMs }) => ({ labels: { role: name }, value: secondsTo(expiresAtMs) })),
    },
    one(
      "imagegrid_certificate_expiry_seconds",
      "Seconds until this server's own certificate expires; below zero when it has.",
      secondsTo(certificateExpiresAtMs),
    ),
    one("imagegrid_catalog_seq", "Place of the catalog in the order of all catalogs of the site.", catalog.seq),
    one(
      "imagegrid_catalog_age_seconds",
      "Seconds since a server signed the catalog's timestamp.",
      Math.max(0, (nowMs - signedAtMs) / 1_000),
    ),
    one("imagegrid_layers_held", "Layers that this server holds whole and seeds.", layersHeld),
    one("imagegrid_members_revoked", "Members and invites that the site refuses.", catalog.site.revoked.length),
    one("imagegrid_audit_entries", "Entries of this server's audit log.", audit.entries),
    one("imagegrid_audit_holds", "1 while nothing was found to be wrong with the audit log, else 0.", audit.fault === null ? 1 : 0),
  ]
}

function one(name: string, help: string, value: number): Gauge {
  return { name, help, samples: [{ value }] }
}

export function formatMetrics(gauges: readonly Gauge[]): string {
  return gauges
    .map(({ name, help, samples }) => {
      const lines = samples.map(({ labels = {}, value }) => `${name}${formatLabels(labels)} ${value}\n`)
      return `# HELP ${name} ${escaped(help)}\n# TYPE ${name} gauge\n${lines.join("")}`
    })
    .join("")
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value).replaceAll('"', '\\"')}"`)
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")
}
