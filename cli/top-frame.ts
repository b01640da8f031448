/** What `imagegrid top` shows: a pure function of what servers said and of the terminal's size. Nothing in it is wider or longer than that. */
import type { Deployment, GridStatus } from "#core/wire.ts"
import { printableLine } from "./printable.ts"
import { formatBytes, formatDuration, formatRate } from "./progress.ts"

export type TopState = {
  readonly nowMs: number
  readonly site: string
  /** The newest first. */
  readonly deployments: readonly Deployment[]
  /** Null where the server takes no part in the grid yet. */
  readonly grid: Pick<GridStatus, "servers" | "underGoal" | "atRisk" | "fetching" | "wanted"> | null
}
export type TopSize = { readonly columns: number; readonly rows: number }

/** What ended is shown for so long after. */
const SHOWN_AFTER_MS = 10 * 60_000
const COLUMNS_MIN = 40
const words: Readonly<Record<Deployment["phase"], string>> = {
  download: "download",
  unpack: "unpack",
  verify: "verify",
  seed: "seed",
  good: "good",
  left: "done",
  failed: "FAILED",
}
/** Those that need somebody first, then those that go on, then those that are well. */
const order: readonly Deployment["state"][] = ["failed", "lost", "silent", "running", "good"]

type Column = { readonly title: string; readonly of: (deployment: Deployment) => string; readonly align?: "right" }
const columns: readonly Column[] = [
  { title: "host", of: ({ host }) => host },
  { title: "image", of: ({ image }) => image },
  { title: "phase", of: phaseOf },
  { title: "%", of: shareOf, align: "right" },
  { title: "down", of: ({ downloadBytesPerSecond }) => rate(downloadBytesPerSecond), align: "right" },
  { title: "up", of: ({ uploadBytesPerSecond }) => rate(uploadBytesPerSecond), align: "right" },
  { title: "servers", of: ({ fromServersBytes }) => formatBytes(fromServersBytes), align: "right" },
  { title: "clients", of: ({ fromClientsBytes }) => formatBytes(fromClientsBytes), align: "right" },
  { title: "left", of: leftOf, align: "right" },
]
/** These give way first where the terminal is narrow. */
const SHRINKING = ["image", "host"] as const
const SHRUNK_MIN = 8

export function topFrame({ nowMs, site, deployments, grid }: TopState, size: TopSize): string[] {
  const width = Math.max(COLUMNS_MIN, size.columns)
  const shown = deployments
    .filter(
      ({ state, phase, heardAtMs }) => state === "running" || phase === "seed" || phase === "good" || nowMs - heardAtMs < SHOWN_AFTER_MS,
    )
    .sort((a, b) => order.indexOf(a.state) - order.indexOf(b.state) || a.startedAtMs - b.startedAtMs || (a.host < b.host ? -1 : 1))
  const head = headOf(site, shown, grid)
  const room = Math.max(1, size.rows - head.length - 2)
  const fitting = shown.length > room ? shown.slice(0, Math.max(0, room - 1)) : shown
  const table = shown.length === 0 ? ["nobody deploys now"] : tableOf(fitting, width)
  const more =
    shown.length > fitting.length ? [`... and ${shown.length - fitting.length} more; 'imagegrid deployments' lists them all`] : []
  return [...head, "", ...table, ...more].slice(0, Math.max(1, size.rows)).map((line) => cut(printableLine(line), width))
}

function headOf(site: string, shown: readonly Deployment[], grid: TopState["grid"]): string[] {
  const count = (state: Deployment["state"]) => shown.filter((one) => one.state === state).length
  const sum = (of: (deployment: Deployment) => number) => shown.reduce((total, one) => total + of(one), 0)
  const [fromServers, fromClients] = [sum((one) => one.fromServersBytes), sum((one) => one.fromClientsBytes)]
  const share = fromServers + fromClients === 0 ? "" : `, ${Math.round((fromServers / (fromServers + fromClients)) * 100)} % from servers`
  const troubles = (["failed", "lost", "silent"] as const)
    .filter((state) => count(state) > 0)
    .map((state) => `${count(state)} ${state.toUpperCase()}`)
  const lines = [
    [`site ${site}: ${count("running")} deploying, ${count("good")} good`, ...troubles].join(", "),
    `clients: ${formatRate(sum((one) => one.downloadBytesPerSecond))} in, ${formatRate(sum((one) => one.uploadBytesPerSecond))} out; ${formatBytes(fromServers + fromClients)} so far${share}`,
  ]
  return grid === null ? lines : [...lines, gridLine(grid)]
}

function gridLine({ servers, underGoal, atRisk, fetching, wanted }: NonNullable<TopState["grid"]>): string {
  const away = servers.filter(({ standing }) => standing !== "live").length
  const parts = [
    `${servers.length - away} of ${servers.length} servers live`,
    underGoal === 0 ? "all images at their goal" : `${underGoal} images UNDER THEIR GOAL`,
    atRisk.length > 0 && `${atRisk.length} AT RISK`,
    fetching.length + wanted > 0 && `${fetching.length + wanted} to be copied here`,
  ]
  return parts.filter((part) => part !== false).join(", ")
}

function tableOf(shown: readonly Deployment[], width: number): string[] {
  const rows = shown.map((deployment) => columns.map(({ of }) => printableLine(of(deployment))))
  const widths = columns.map(({ title }, index) => Math.max(title.length, ...rows.map((row) => (row[index] ?? "").length)))
  for (const name of SHRINKING) {
    const index = columns.findIndex(({ title }) => title === name)
    const excess = widths.reduce((sum, one) => sum + one + 1, -1) - width
    if (excess > 0) widths[index] = Math.max(Math.min(SHRUNK_MIN, widths[index] ?? 0), (widths[index] ?? 0) - excess)
  }
  return [columns.map(({ title }) => title), ...rows].map((row) =>
    row
      .map((cell, index) => {
        const room = widths[index] ?? 0
        return columns[index]?.align === "right" ? cell.padStart(room) : cut(cell, room).padEnd(room)
      })
      .join(" ")
      .trimEnd(),
  )
}

function phaseOf({ phase, state, code }: Deployment): string {
  if (state === "silent" || state === "lost") return state.toUpperCase()
  return state === "failed" && code !== undefined ? code : words[phase]
}

function shareOf({ phase, bytes, totalBytes }: Deployment): string {
  if (phase === "good" || phase === "seed" || phase === "left") return "100"
  return totalBytes === 0 ? "" : String(Math.min(100, Math.floor((bytes / totalBytes) * 100)))
}

function leftOf({ phase, state, bytes, totalBytes, downloadBytesPerSecond, goodAfterMs }: Deployment): string {
  if (goodAfterMs !== null) return `in ${formatDuration(goodAfterMs)}`
  if (state !== "running" || phase !== "download" || downloadBytesPerSecond === 0) return ""
  return formatDuration((Math.max(0, totalBytes - bytes) / downloadBytesPerSecond) * 1_000)
}

function rate(bytesPerSecond: number): string {
  return bytesPerSecond === 0 ? "" : formatRate(bytesPerSecond)
}

/** At most so many characters; what was cut ends with a mark. */
function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`
}
