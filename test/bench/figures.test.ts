import assert from "node:assert/strict"
import { test } from "node:test"
import { lineChart, type Series } from "../../bench/figures/line-chart.ts"

const labels = { title: "Time to give one image to every host", xLabel: "hosts", yLabel: "time (s)" }
const swarm: Series = {
  name: "imagegrid",
  points: [
    [15, 18.4],
    [150, 21.7],
  ],
}
const daemon: Series = {
  name: "rsync",
  points: [
    [15, 270],
    [150, 2_690],
  ],
}

/** Fails unless the document is well-formed; tells its elements and what is written in it, unescaped. */
function readXml(document: string): { elements: string[]; texts: string[] } {
  const token = /<(\/?)([a-zA-Z]+)((?:\s+[a-zA-Z:-]+="[^"<&]*")*)\s*(\/?)>|([^<>&]+|&(?:amp|lt|gt|quot|#39);)/gy
  const entities = new Map(Object.entries({ "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" }))
  const open: string[] = []
  const elements: string[] = []
  const texts: string[] = []
  let readTo = 0
  let text = ""
  for (let match = token.exec(document); match !== null; match = token.exec(document)) {
    readTo = token.lastIndex
    const [, closing, name = "", attributes = "", empty, characters] = match
    if (characters !== undefined) {
      text += entities.get(characters) ?? characters
      continue
    }
    if (text.trim() !== "") texts.push(text)
    text = ""
    if (closing === "/") assert.equal(open.pop(), name, `</${name}> closes what is open`)
    else {
      assert.ok(elements.length === 0 || open.length > 0, "there is one root")
      const names = [...attributes.matchAll(/([a-zA-Z:-]+)="/g)].map(([, attribute]) => attribute)
      assert.equal(new Set(names).size, names.length, `<${name}${attributes}> has each attribute once`)
      elements.push(name)
      if (empty !== "/") open.push(name)
    }
  }
  assert.equal(readTo, document.length, `read to the end, not to ${JSON.stringify(document.slice(readTo, readTo + 80))}`)
  assert.deepEqual(open, [])
  return { elements, texts }
}

/** Noise that is the same in every run: the worst case for size, where no two neighbouring points are alike. */
function clients(count: number, pointCount: number): Series[] {
  let state = 1
  const noise = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
  return Array.from({ length: count }, (_, client) => ({
    name: `client-${client}`,
    faint: true,
    points: Array.from({ length: pointCount }, (_point, second) => [second, 3.75e6 * noise()] as const),
  }))
}

test("a chart is one well-formed SVG document on white with its title, its axes' labels and the names of its series", () => {
  const svg = lineChart({ ...labels, series: [swarm, daemon] })
  const { elements, texts } = readXml(svg)
  assert.match(svg, /^<svg width="800" height="450" xmlns="http:\/\/www\.w3\.org\/2000\/svg"[^>]* viewBox="0 0 800 450"/)
  assert.match(svg, /<rect width="800" height="450" x="0" y="0" fill="#ffffff">/)
  assert.equal(elements[0], "svg")
  for (const text of ["imagegrid", "rsync", labels.title, "hosts", "time (s)", "3K"])
    assert.ok(texts.includes(text), `${text} in ${texts.join()}`)
})

test("a chart holds nothing that runs, is fetched, or styles the page around it", () => {
  const svg = lineChart({ ...labels, series: [swarm, ...clients(3, 5)] })
  assert.deepEqual([...new Set(readXml(svg).elements)].sort(), ["clipPath", "defs", "g", "path", "rect", "svg", "text", "title"].sort())
  assert.doesNotMatch(svg, /<script|<style|<image|href|class=|ecmeta|\bon\w+=/)
  assert.deepEqual([...svg.matchAll(/https?:[^"]*/g)].map(String), ["http://www.w3.org/2000/svg"])
})

test("the same input gives the same bytes, whatever was drawn before", () => {
  const chart = { ...labels, series: [swarm, daemon, ...clients(5, 20)], logY: true }
  const first = lineChart(chart)
  lineChart({ ...labels, series: [daemon] })
  assert.equal(lineChart(chart), first)
  const ids = [...first.matchAll(/\bid="([^"]*)"/g)].map(([, id]) => id)
  assert.ok(ids.length > 0)
  for (const [, id] of first.matchAll(/url\(#([^)]*)\)/g)) assert.ok(ids.includes(id), `${id} of ${ids.join()}`)
})

test("names are text: neither markup, nor the library's own language, nor what is taken out of the document", () => {
  const hostile = ['a<&"b', "{b|x}", 'class="k"', "b1", "]]></g>", "a\u0000\ud800\n\tb", ""]
  const series = hostile.map((name) => ({ ...swarm, name }))
  const svg = lineChart({ title: '<t>&"', xLabel: "<x>&'", yLabel: 'url(#zr0-c0) id="zr0-c0"', series })
  const { texts } = readXml(svg)
  for (const text of [...hostile.slice(0, 5), "a\ufffd\ufffd b", '<t>&"', "<x>&'", 'url(#zr0-c0) id="zr0-c0"'])
    assert.ok(texts.includes(text), `${text} in ${texts.join()}`)
})

test("names that every object has as properties leave those properties alone", () => {
  const inherited = Reflect.ownKeys(Object.prototype).map(String)
  const own = () => inherited.map((name) => Reflect.ownKeys(Object((Object.prototype as Record<string, unknown>)[name]) as object))
  const before = own()
  for (const name of inherited) {
    const { texts } = readXml(lineChart({ title: name, xLabel: name, yLabel: name, series: [{ ...swarm, name }] }))
    assert.equal(texts.filter((text) => text.trim() === name).length, 5, "in <title>, as title, at two axes, in the legend")
  }
  assert.deepEqual(Reflect.ownKeys(Object.prototype).map(String), inherited)
  assert.deepEqual(own(), before)
})

test("long names are cut, so that the legend's entries stay apart", () => {
  const { texts } = readXml(
    lineChart({ ...labels, series: ["n".repeat(200), "镜".repeat(200)].map((name) => ({ name, points: swarm.points })) }),
  )
  for (const text of [`${"n".repeat(21)}…`, `${"镜".repeat(10)}…`]) assert.ok(texts.includes(text), `${text} in ${texts.join()}`)
})

test("faint series are drawn behind the bold ones and stay out of the legend", () => {
  const svg = lineChart({ ...labels, series: [swarm, ...clients(150, 30)] })
  assert.ok(!readXml(svg).texts.some((text) => text.startsWith("client-")))
  const faint = [...svg.matchAll(/<path[^>]* stroke-opacity="[^>]*>/g)]
  assert.equal(faint.length, 150)
  const boldLine = svg.lastIndexOf('stroke-width="2.4"')
  assert.ok(boldLine > (faint.at(-1)?.index ?? Infinity))
})

test("150 clients of 120 samples each make a document under 300 KB", () => {
  const svg = lineChart({ ...labels, series: [swarm, ...clients(150, 120)] })
  assert.ok(svg.length > 150 * 120 * 4, "all samples are drawn")
  assert.ok(svg.length < 300_000, `${svg.length} bytes`)
})

test("a logarithmic axis counts in tens over wide spans and in twos over narrow ones", () => {
  const wide = readXml(lineChart({ ...labels, series: [swarm, daemon], logY: true })).texts
  for (const tick of ["10", "100", "1K", "10K"]) assert.ok(wide.includes(tick), `${tick} in ${wide.join()}`)
  const narrow = readXml(lineChart({ ...labels, series: [swarm], logY: true })).texts
  for (const tick of ["16", "32"]) assert.ok(narrow.includes(tick), `${tick} in ${narrow.join()}`)
})

test("lines of few points bear symbols, and a line of one point is visible by its symbol alone", () => {
  const circles = (pointCount: number) => {
    const points = Array.from({ length: pointCount }, (_, x) => [x, x] as const)
    return lineChart({ ...labels, series: [{ name: "one", points }] }).split("<path d=").length
  }
  assert.ok(circles(40) > circles(41) + 30)
  assert.ok(circles(1) > circles(41) - 10)
})

test("a chart without a point is refused", () => {
  for (const series of [[], [{ name: "empty", points: [] }]])
    assert.throws(() => lineChart({ ...labels, series }), { name: "TypeError", message: /at least one point/ })
})

test("a point that is not finite is refused by the name of its series", () => {
  for (const bad of [NaN, Infinity, -Infinity])
    for (const point of [[bad, 1] as const, [1, bad] as const])
      assert.throws(() => lineChart({ ...labels, series: [swarm, { name: "lab", points: [[0, 0], point] }] }), {
        name: "TypeError",
        message: /point 1 of series "lab" .* finite/,
      })
})

test("a value that a logarithmic axis has no place for is refused", () => {
  const series = [{ name: "lab", points: [[1, 0] as const] }]
  assert.throws(() => lineChart({ ...labels, series, logY: true }), { name: "RangeError", message: /above zero/ })
  assert.doesNotThrow(() => lineChart({ ...labels, series }))
})
