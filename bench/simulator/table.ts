/** Results as text for a terminal. */
import { siteRatios, spread } from "../lab/result.ts"
import { finishedSeconds, hostsOf, simulationFigures, type SimulatedSite, type SimulationFigures, type SimulationResult } from "./result.ts"

type Column = { readonly title: string; readonly cell: (result: SimulationResult, figures: SimulationFigures) => string }

const number = (value: number | null | undefined, digits: number) => (value === null || value === undefined ? "-" : value.toFixed(digits))
const percent = (share: number, digits: number) => (share * 100).toFixed(digits)

const columns: readonly Column[] = [
  { title: "hosts", cell: ({ scenario }) => String(scenario.hosts) },
  { title: "finished", cell: (_, { finished, expected }) => `${finished}/${expected}` },
  { title: "ratio", cell: (_, { ratio }) => number(ratio, 3) },
  { title: "median", cell: (_, { ratios }) => number(ratios?.median, 3) },
  { title: "first", cell: (_, { ratios }) => number(ratios?.first, 3) },
  { title: "origin copies", cell: (_, { originCopies }) => originCopies.reduce((sum, each) => sum + each, 0).toFixed(2) },
  { title: "dup %", cell: (_, { duplicateShare }) => percent(duplicateShare, 2) },
  { title: "control %", cell: ({ smallShare }) => percent(smallShare, 2) },
  { title: "links", cell: ({ linksPerHost }) => linksPerHost.toFixed(1) },
  { title: "simulated s", cell: ({ seconds }) => seconds.toFixed(2) },
  { title: "wall s", cell: ({ wallSeconds }) => wallSeconds.toFixed(1) },
  { title: "CPU s", cell: ({ cpuSeconds }) => cpuSeconds.toFixed(1) },
  { title: "host-time", cell: (_, { speed }) => `${speed.toFixed(speed < 10 ? 1 : 0)}x` },
  { title: "MB", cell: ({ residentBytes }) => (residentBytes / 1e6).toFixed(0) },
]

/** One line a result, under titles; then what needs a line of its own. */
export function simulationTable(results: readonly SimulationResult[]): string {
  const rows = results.map((result) => {
    const figures = simulationFigures(result)
    return columns.map((column) => column.cell(result, figures))
  })
  return [...textTable([columns.map((column) => column.title), ...rows]), ...results.flatMap(remarks)].join("\n")
}

export function textTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  return rows.map((row) => row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  "))
}

function remarks(result: SimulationResult): string[] {
  const { scenario, pieceCount, pieceBytes, blockBytes, digest } = result
  const { originCopies } = simulationFigures(result)
  const lines = [
    `  ${scenario.hosts} hosts: ${pieceCount} pieces of ${pieceBytes / 1_024} KiB, blocks of ${blockBytes / 1_024} KiB, seed ${scenario.seed}`,
  ]
  if (scenario.sites > 1) for (const site of result.sites) lines.push(siteRemark(result, site))
  if (originCopies.length > 1) lines.push(`  copies of each origin: ${originCopies.map((copies) => copies.toFixed(2)).join(" ")}`)
  for (const fate of ["slow", "late"] as const) {
    const hosts = hostsOf(result, fate)
    if (hosts.length === 0) continue
    const times = spread(finishedSeconds(hosts))
    const from = fate === "late" ? " from their own start" : ""
    const text = times === null ? "none finished" : `first ${times.first.toFixed(2)} s, last ${times.last.toFixed(2)} s${from}`
    lines.push(`  ${hosts.length} ${fate}: ${text} (the others are the line above)`)
  }
  const killed = hostsOf(result, "killed").length
  if (killed > 0) lines.push(`  ${killed} hosts were killed midway; the line above counts the rest`)
  const left = result.hosts.filter((host) => host.fate === "leaving").length
  if (left > 0) lines.push(`  ${left} origins were killed midway`)
  if (result.outcome === "time-limit") lines.push(`  ended after ${result.seconds.toFixed(0)} simulated seconds, before all had the file`)
  if (digest !== null) lines.push(`  trace of ${result.eventCount} events: ${digest}`)
  return lines
}

/** Copies are of the file, by bytes on the wire, and in brackets by payload alone. */
function siteRemark(result: SimulationResult, site: SimulatedSite): string {
  const copies = (bytes: number) => (bytes / result.scenario.contentBytes).toFixed(3)
  const ratios = (fate: "usual" | "late") => {
    const of = siteRatios(result, site.number, fate)
    return of === null ? "none" : `${of.last.toFixed(3)} (median ${of.median.toFixed(3)})`
  }
  const late = hostsOf(result, "late").some((host) => host.site === site.number) ? `, late ${ratios("late")}` : ""
  const { sentBytes, sentPayloadBytes, receivedBytes, receivedPayloadBytes } = site
  const links = `received ${copies(receivedBytes)} copies (${copies(receivedPayloadBytes)}), sent ${copies(sentBytes)} (${copies(sentPayloadBytes)})`
  return `  site ${site.number + 1}: ratio ${ratios("usual")}${late}; ${links}${budgetRemark(result, site)}`
}

/** How a site kept to what its members were told that they may send: shares of it, over all seconds in which they sent at least half of it. */
function budgetRemark({ scenario }: SimulationResult, site: SimulatedSite): string {
  const budget = scenario.wideAreaBudgetBytesPerSecond
  const shares = budget === null ? [] : site.sentBytesPerSecond.map((bytes) => bytes / budget).filter((share) => share >= 0.5)
  if (shares.length === 0) return ""
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length
  const sorted = shares.toSorted((a, b) => a - b)
  const near = shares.filter((share) => share <= 1.1).length / shares.length
  const texts = [
    `mean ${mean.toFixed(2)}`,
    `median ${(sorted[sorted.length >> 1] ?? 0).toFixed(2)}`,
    `most ${Math.max(...shares).toFixed(2)}`,
  ]
  return `; of its budget ${texts.join(", ")}, ${percent(near, 1)} % of ${shares.length} s within 1.1`
}
