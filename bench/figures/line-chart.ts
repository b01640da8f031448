/** One chart as one SVG document that stands alone: no script, no style sheet, no reference outside, the same bytes for the same input. */
import { LineChart } from "echarts/charts"
import { GridComponent, LegendComponent, TitleComponent } from "echarts/components"
import { init, use } from "echarts/core"
import { SVGRenderer } from "echarts/renderers"

use([LineChart, GridComponent, LegendComponent, TitleComponent, SVGRenderer])

export type Series = {
  readonly name: string
  readonly points: readonly (readonly [x: number, y: number])[]
  /** Background, such as each client of a swarm: thin, translucent, not in the legend, behind all others. */
  readonly faint?: boolean
}

export type Chart = {
  readonly title: string
  /** With the unit: `hosts`, `time (s)`. */
  readonly xLabel: string
  readonly yLabel: string
  readonly series: readonly Series[]
  /** Powers of ten, or of two where the values span less than two decades. */
  readonly logY?: boolean
}

const widthPx = 800
const heightPx = 450
const legendTopPx = 38
const legendRowPx = 22
const legendColumns = 4
const legendColumnPx = (widthPx - 32) / legendColumns
/** In the width of a letter. */
const legendNameLetters = 21
const titleLetters = 80
/** Lines with more points than this bear no symbols. */
const symbolsAtMost = 40

/** Okabe and Ito's palette, told apart under every common colour blindness, without its yellow, which white swallows. */
const palette = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333"]
const symbols = ["circle", "rect", "triangle", "diamond"]
const ink = "#333333"
const faintInk = "#56606b"
const gridInk = "#e3e6ea"

const compactly = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 })

/**
 * The whole document, 800 by 450, on white. Linear axes begin at zero.
 * @throws {TypeError} nothing to draw, or a coordinate is not a finite number
 * @throws {RangeError} a value that a logarithmic axis has no place for
 */
export function lineChart(chart: Chart): string {
  requireDrawable(chart)
  const bold = chart.series.filter((series) => series.faint !== true)
  const faint = chart.series.filter((series) => series.faint === true)
  // The more lines lie on one another, the less each of them covers.
  const faintOpacity = Math.min(0.5, 2 / Math.sqrt(faint.length))
  const title = shortened(printable(chart.title), titleLetters)
  const legendRows = Math.ceil(bold.length / legendColumns)
  const renderer = init(null, null, { renderer: "svg", ssr: true, width: widthPx, height: heightPx })
  try {
    renderer.setOption({
      animation: false,
      backgroundColor: "#ffffff",
      textStyle: { fontFamily: "sans-serif", color: ink },
      title: { text: title, left: 16, top: 11, padding: 0, textStyle: { fontSize: 16, color: ink } },
      legend: bold.map(({ name }, index) => ({
        // An entry is known by its position: a name is text, and nothing that the library would read.
        data: [boldId(index)],
        formatter: () => shortened(printable(name), legendNameLetters),
        left: 16 + (index % legendColumns) * legendColumnPx,
        top: legendTopPx + Math.floor(index / legendColumns) * legendRowPx,
        padding: 0,
        itemWidth: 26,
        textStyle: { fontSize: 12, color: ink },
      })),
      grid: { left: 20, right: 28, top: legendTopPx + legendRows * legendRowPx + 14, bottom: 16 },
      xAxis: { type: "value", ...axisLook(chart.xLabel) },
      yAxis: { ...(chart.logY === true ? logScale(chart.series) : { type: "value" as const }), ...axisLook(chart.yLabel) },
      series: [
        ...faint.map(({ points }) => ({
          type: "line" as const,
          data: copied(points),
          z: 2,
          silent: true,
          showSymbol: false,
          lineStyle: { color: faintInk, width: 0.7, opacity: faintOpacity },
        })),
        ...bold.map(({ points }, index) => {
          const color = palette[index % palette.length] ?? ink
          return {
            type: "line" as const,
            name: boldId(index),
            data: copied(points),
            z: 3,
            silent: true,
            showSymbol: points.length <= symbolsAtMost,
            symbol: symbols[index % symbols.length] ?? "circle",
            symbolSize: 8,
            itemStyle: { color },
            lineStyle: { color, width: 2.4, type: index < palette.length ? ("solid" as const) : ("dashed" as const) },
          }
        }),
      ],
    })
    return standAlone(renderer.renderToSVGString(), title)
  } finally {
    renderer.dispose()
  }
}

function requireDrawable({ series, logY }: Chart): void {
  if (series.every(({ points }) => points.length === 0))
    throw new TypeError(`a chart needs a series with at least one point, and this one has ${series.length} series, none with a point`)
  for (const { name, points } of series)
    for (const [index, [x, y]] of points.entries()) {
      const where = `point ${index} of series ${JSON.stringify(name.slice(0, 80))} is (${x}, ${y})`
      if (!Number.isFinite(x) || !Number.isFinite(y)) throw new TypeError(`${where}: both coordinates must be finite numbers`)
      if (logY === true && y <= 0) throw new RangeError(`${where}: a logarithmic axis has only values above zero`)
    }
}

function boldId(index: number): string {
  return `b${index}`
}

function copied(points: Series["points"]): [number, number][] {
  return points.map(([x, y]) => [x, y])
}

function axisLook(label: string) {
  return {
    name: printable(label),
    nameLocation: "middle" as const,
    nameTextStyle: { fontSize: 13, color: ink },
    axisLine: { show: true, onZero: false, lineStyle: { color: ink } },
    axisTick: { show: true },
    axisLabel: { fontSize: 12, color: ink, formatter: (value: number) => compactly.format(value) },
    splitLine: { lineStyle: { color: gridInk } },
  }
}

function logScale(series: readonly Series[]) {
  let least = Infinity
  let most = 0
  for (const { points } of series)
    for (const [, y] of points) {
      least = Math.min(least, y)
      most = Math.max(most, y)
    }
  return { type: "log" as const, logBase: most / least < 100 ? 2 : 10 }
}

/**
 * On one line, without the characters that XML 1.0 has no place for (shown as U+FFFD), and never the name of a property that all objects
 * have: the library keeps the widths of texts in a plain object, and would take `__proto__` for an entry and write into Object.prototype.
 */
function printable(text: string): string {
  const line = text
    .toWellFormed()
    .replace(/\s+/g, " ")
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    .replace(/[\u0000-\u001f\u007f\ufffe\uffff]/g, "\ufffd")
  return line in Object.prototype ? `${line} ` : line
}

/** Cut here, because where the library cuts depends on how long it took to measure a font. */
function shortened(text: string, letters: number): string {
  let room = letters
  let kept = ""
  for (const letter of text) {
    room -= letter < "\u2e80" ? 1 : 2
    if (room < 0) return `${kept.trimEnd()}…`
    kept += letter
  }
  return text
}

/**
 * What the library adds for pages that hold charts taken out, the ids that it counts through the process made the document's own, a name
 * for screen readers put in. Text can't be hit: each pattern has a quote, and the library writes those in text as `&quot;`.
 */
function standAlone(svg: string, title: string): string {
  const escaped = title.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
  return (
    svg
      .replaceAll(/ ecmeta_\w+="[^"]*"/g, "")
      .replace(/<style [\s\S]*<\/style>\n/, "")
      .replaceAll(/ (?:class|pointer-events)="[^"]*"/g, "")
      // Converters to PDF and PNG don't all know this baseline; they know a shift.
      .replaceAll(' dominant-baseline="central"', ' dy="0.35em"')
      .replace(/ xmlns:xlink="[^"]*"/, "")
      .replaceAll(/(="url\(#|\bid=")zr\d+-/g, "$1")
      .replace(/^<svg [^>]*/, (open) => `${open} role="img"`)
      .replace(/^<svg [^>]*>/, (open) => `${open}\n<title>${escaped}</title>`)
      .concat("\n")
  )
}
