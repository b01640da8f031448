/** Results as text for a terminal. */
import { spread } from "../lab/result.ts"
import { finishedSeconds, hostsOf, simulationFigures, type SimulationFigures, type SimulationResult } from "./result.ts"

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
