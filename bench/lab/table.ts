/** Results as text for a terminal. */
import type { Figures, RunResult } from "./result.ts"
import { DISTURBED_SHARE, figuresOf, finishedSeconds, hostsOf, siteRatios, spread } from "./result.ts"
import { idealSeconds } from "../scenario.ts"

type Column = { readonly title: string; readonly cell: (result: RunResult, figures: Figures) => string }

const number = (value: number | null | undefined, digits: number) => (value === null || value === undefined ? "-" : value.toFixed(digits))

const columns: readonly Column[] = [
  { title: "transport", cell: (result) => result.transport },
  { title: "finished", cell: (_, { finished, expected }) => `${finished}/${expected}` },
  { title: "seconds", cell: (_, { ratio, seconds }) => (ratio === null ? "-" : number(seconds?.last, 2)) },
  { title: "ratio", cell: (_, { ratio }) => number(ratio, 3) },
  { title: "median s", cell: (_, { seconds }) => number(seconds?.median, 2) },
  { title: "first s", cell: (_, { seconds }) => number(seconds?.first, 2) },
  {
    title: "origin copies",
    cell: (_, { originCopies, originCopiesFrom }) => `${number(originCopies, 2)}${originCopiesFrom === "wire" ? "*" : ""}`,
  },
  { title: "dup %", cell: (_, { duplicateShare }) => number(duplicateShare === null ? null : duplicateShare * 100, 2) },
  { title: "CPU-s", cell: (_, { cpuSeconds }) => number(cpuSeconds, 1) },
  {
    title: "CPU-s/GB",
    cell: (_, figures) => number(Number.isFinite(figures.cpuSecondsPerGigabyte) ? figures.cpuSecondsPerGigabyte : null, 2),
  },
  { title: "busy %", cell: (result, { cpuBound }) => `${number(result.machineBusy * 100, 0)}${cpuBound ? " CPU-bound" : ""}` },
]

/** One line a result, under titles; then what needs a line of its own. */
export function resultTable(results: readonly RunResult[]): string {
  const rows = results.map((result) => {
    const figures = figuresOf(result)
    return columns.map((column) => column.cell(result, figures))
  })
  const table = [columns.map((column) => column.title), ...rows]
  const widths = columns.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  const lines = table.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  ")
      .trimEnd(),
  )
  return [...lines, ...results.flatMap(remarks)].join("\n")
}

/** Times of hosts with a fate of their own, runs that did not end, and what a mark means. */
function remarks(result: RunResult): string[] {
  const { transport } = result
  const lines = result.sites.map((_, site) => siteRemark(result, site))
  for (const fate of ["slow", "late"] as const) {
    const hosts = hostsOf(result, fate)
    const times = spread(finishedSeconds(hosts))
    if (hosts.length === 0) continue
    const from = fate === "late" ? " from their own start" : ""
    const text = times === null ? "none finished" : `first ${times.first.toFixed(2)} s, last ${times.last.toFixed(2)} s${from}`
    lines.push(`  ${transport}: ${hosts.length} ${fate}: ${text} (the others are the line above)`)
  }
  const killed = hostsOf(result, "killed").length
  if (killed > 0) lines.push(`  ${transport}: ${killed} hosts were killed midway; the line above counts the rest`)
  const left = result.hosts.filter((host) => host.fate === "leaving").length
  if (left > 0) lines.push(`  ${transport}: ${left} origins were killed midway`)
  if (result.machineBusyBefore > DISTURBED_SHARE)
    lines.push(`  ${transport}: other work kept ${(result.machineBusyBefore * 100).toFixed(0)} % of the cores busy just before the start`)
  if (result.outcome === "time-limit")
    lines.push(
      `  ${transport}: ended after ${result.seconds.toFixed(0)} s, ${(result.seconds / idealSeconds(result.scenario)).toFixed(1)} times the ideal, before all had the file`,
    )
  if (figuresOf(result).originCopiesFrom === "wire")
    lines.push(`  * ${transport}: from what the origins' links carried, less 66 bytes a frame`)
  return lines
}

/** Copies are of the file, by bytes on the wire. */
function siteRemark(result: RunResult, site: number): string {
  const copies = (bytes = 0) => (bytes / result.scenario.contentBytes).toFixed(3)
  const ratio = (fate: "usual" | "late") => siteRatios(result, site, fate)?.last.toFixed(3) ?? "none"
  const late = hostsOf(result, "late").some((host) => host.site === site) ? `, late ${ratio("late")}` : ""
  const { sentBytes, receivedBytes } = result.sites[site] ?? {}
  return `  ${result.transport}, site ${site + 1}: ratio ${ratio("usual")}${late}; received ${copies(receivedBytes)} copies, sent ${copies(sentBytes)}`
}
