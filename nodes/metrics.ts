/**
 * A server's figures in Prometheus' text format (version 0.0.4), as /metrics serves them. Names and units are documented in docs/operating.md:
 * others build alarms on them.
 */
import type { GridStatus } from "#core/wire.ts"
import type { SwarmTraffic } from "#swarm/swarm.ts"
import { defaultLifetimes } from "#trust/lifetimes.ts"
import type { Catalog } from "#trust/catalog.ts"

export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

type Sample = { readonly labels?: Readonly<Record<string, string>>; readonly value: number }
export type Metric = {
  readonly name: string
  readonly help: string
  readonly type: "gauge" | "counter"
  readonly samples: readonly Sample[]
}

export type Measured = {
  readonly catalog: Pick<Catalog, "roles" | "seq" | "site">
  readonly certificateExpiresAtMs: number
  readonly layersHeld: number
  readonly audit: { readonly entries: number; readonly fault: string | null }
  readonly heldBytes: number
  readonly traffic: SwarmTraffic
  readonly peerCount: number
  readonly dhtNodeCount: number
  /** Null until it takes part in the grid. */
  readonly grid: Pick<GridStatus, "servers" | "underGoal" | "atRisk" | "fetching" | "wanted" | "doubted"> | null
  readonly diskFreeBytes: number
  readonly memoryBytes: number
  readonly cpuSeconds: number
  readonly nowMs: number
}

export function metricsOf(measured: Measured): Metric[] {
  const { catalog, certificateExpiresAtMs, layersHeld, audit, nowMs } = measured
  const { roles } = catalog
  const secondsTo = (atMs: number) => (atMs - nowMs) / 1_000
  const signedAtMs = (roles.find(({ name }) => name === "timestamp")?.expiresAtMs ?? nowMs) - defaultLifetimes.timestamp
  return [
    {
      name: "imagegrid_role_expiry_seconds",
      help: "Seconds until the signatures of a role expire; below zero when they have.",
      type: "gauge",
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
    one("imagegrid_layers_held_bytes", "Sealed bytes of those layers together.", measured.heldBytes),
    ...trafficOf(measured),
    one("imagegrid_dht_nodes", "Nodes of the DHT that this server knows.", measured.dhtNodeCount),
    ...(measured.grid === null ? [] : gridOf(measured.grid)),
    one("imagegrid_disk_free_bytes", "Free on the file system of the home, to this user.", measured.diskFreeBytes),
    one("process_resident_memory_bytes", "Memory of the process that is in RAM.", measured.memoryBytes),
    counter("process_cpu_seconds_total", "CPU time of the process, user and system.", [{ value: measured.cpuSeconds }]),
  ]
}

function trafficOf({ traffic, peerCount }: Measured): Metric[] {
  return [
    counter("imagegrid_swarm_sent_bytes_total", "Bytes of layers that this server sent.", [{ value: traffic.sentBytes }]),
    counter("imagegrid_swarm_received_bytes_total", "Bytes of layers that came, by whom they came from.", [
      { labels: { from: "servers" }, value: traffic.fromServersBytes },
      { labels: { from: "clients" }, value: traffic.fromClientsBytes },
    ]),
    counter("imagegrid_swarm_received_other_sites_bytes_total", "Those of them that came from other sites.", [
      { value: traffic.fromOtherSitesBytes },
    ]),
    one("imagegrid_swarm_peers", "Connections in the swarm, once for each layer.", peerCount),
  ]
}

function gridOf({ servers, underGoal, atRisk, fetching, wanted, doubted }: NonNullable<Measured["grid"]>): Metric[] {
  return [
    {
      name: "imagegrid_grid_servers",
      help: "Servers of all sites, this one among them, by how they are seen from here.",
      type: "gauge",
      samples: (["live", "suspect", "out"] as const).map((standing) => ({
        labels: { standing },
        value: servers.filter((server) => server.standing === standing).length,
      })),
    },
    one("imagegrid_grid_images_under_goal", "Images with fewer copies than their goal asks for.", underGoal),
    one("imagegrid_grid_images_at_risk", "Those of them with one live copy or none; at most 100 are counted.", atRisk.length),
    one("imagegrid_grid_repairs", "Images that this server fetches or is about to.", fetching.length + wanted),
    one("imagegrid_grid_servers_doubted", "Servers that did not prove to this one what they say they hold.", doubted.length),
  ]
}

function counter(name: string, help: string, samples: readonly Sample[]): Metric {
  return { name, help, type: "counter", samples }
}

function one(name: string, help: string, value: number): Metric {
  return { name, help, type: "gauge", samples: [{ value }] }
}

export function formatMetrics(metrics: readonly Metric[]): string {
  return metrics
    .map(({ name, help, type, samples }) => {
      const lines = samples.map(({ labels = {}, value }) => `${name}${formatLabels(labels)} ${value}\n`)
      return `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n${lines.join("")}`
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
