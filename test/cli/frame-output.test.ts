import assert from "node:assert/strict"
import { test } from "node:test"
import { Output, type OutputOptions } from "../../cli/output.ts"
import { printableJson, printableLine, printableLines } from "../../cli/printable.ts"

type Watched = { readonly output: Output; at: number; out: string; err: string }

function watched(options: OutputOptions, terminal = false): Watched {
  const seen = { at: 0, out: "", err: "" }
  const output = new Output(
    {
      stdout: { write: (text) => (seen.out += text) },
      stderr: { write: (text) => (seen.err += text), isTTY: terminal, columns: 100 },
      nowMs: () => seen.at,
    },
    options,
  )
  return Object.assign(seen, { output })
}

test("for people: say() and table() write, event() does not", () => {
  const seen = watched({ json: false })
  seen.output.event("published", { entries: 1 })
  seen.output.say("done")
  seen.output.table(
    ["image", "size"],
    [
      ["debian:12", "1 MB"],
      ["a:1", ""],
    ],
  )
  assert.equal(seen.out, "done\nimage      size\ndebian:12  1 MB\na:1\n")
  assert.equal(seen.err, "")
})

test("with --json: stdout holds one object a line and nothing else; warnings go to stderr", () => {
  const seen = watched({ json: true })
  seen.output.event("published", { entries: 1, event: "not this" })
  seen.output.say("done")
  seen.output.table(["a"], [["b"]])
  seen.output.warn("careful")
  assert.equal(seen.err, "imagegrid: warning: careful\n")
  assert.equal(seen.out.split("\n").length, 2)
  assert.equal(JSON.parse(seen.out).entries, 1)
})

test("a note is for people and beside the result: on stderr, and nowhere with --json", () => {
  const [people, program] = [watched({ json: false }), watched({ json: true })]
  for (const seen of [people, program]) seen.output.note("good until tomorrow")
  assert.deepEqual([people.out, people.err], ["", "imagegrid: good until tomorrow\n"])
  assert.deepEqual([program.out, program.err], ["", ""])
})

test("an event's name is its own, whatever its fields are called", () => {
  const seen = watched({ json: true })
  seen.output.event("published", { event: "forged" })
  assert.equal(JSON.parse(seen.out).event, "published")
})

test("nothing from outside moves the cursor, changes colours or reorders what is displayed", () => {
  const evil = "a\u001b[31mb\u0007c\u009bd\u202ee\u2066f\u2028g\rh\ti\u007fj\u0000k"
  const seen = watched({ json: false })
  seen.output.say(evil)
  seen.output.warn(evil)
  seen.output.table([evil], [[`${evil}\n`]])
  seen.output.error({ code: "USAGE", message: evil, exitCode: 64 })
  // oxlint-disable-next-line no-control-regex -- it is what must not be there
  assert.doesNotMatch(seen.out + seen.err, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u202e\u2066]/)
  assert.equal(printableLine(evil), "a\\x1b[31mb\\x07c\\x9bd\\u202ee\\u2066f\\u2028g\\rh\\ti\\x7fj\\x00k")
})

test("printable text keeps every ordinary character, of any language", () => {
  for (const text of ["ümlaut", "日本語", "naïve – “quoted”", "🙂", "a  b"]) assert.equal(printableLine(text), text)
  assert.equal(printableLine("\ud83d"), "\ufffd")
})

test("lines after the first are indented, so that none can be taken for the program's own", () => {
  assert.equal(printableLines("one\nimagegrid: forged\n\n"), "one\n  imagegrid: forged")
})

test("JSON is safe to look at and the same value to a program", () => {
  const value = { text: "a\u001b\u009b\u202e\u2028\u007f\n\u0000", nested: ["\u0085"] }
  const line = printableJson(value)
  // oxlint-disable-next-line no-control-regex -- it is what must not be there
  assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f\u2028\u202e]/)
  assert.deepEqual(JSON.parse(line), value)
})

test("progress with --json is at most two events a second, and the last state is among them", () => {
  const seen = watched({ json: true })
  const progress = seen.output.progress("downloading")
  for (let step = 0; step <= 100; step++) {
    seen.at = step * 20
    progress.update({ bytes: step, totalBytes: 100, bytesPerSecond: 50 })
  }
  progress.end()
  progress.end()
  progress.update({ bytes: 0, totalBytes: 100 })
  const lines = seen.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(
    lines.map((line) => line["bytes"]),
    [0, 25, 50, 75, 100],
  )
  assert.deepEqual(lines[4], { event: "progress", phase: "downloading", bytes: 100, totalBytes: 100, bytesPerSecond: 50 })
})

test("progress on a terminal is one line of at most 80 columns, redrawn at most ten times a second and erased at its end", () => {
  const seen = watched({ json: false }, true)
  const progress = seen.output.progress("downloading")
  for (let step = 0; step <= 1_000; step++) {
    seen.at = step
    progress.update({ bytes: step * 1_000_000, totalBytes: 1_000_000_000 })
  }
  const drawn = seen.err.split("\r\u001b[K").slice(1)
  assert.ok(drawn.length >= 10 && drawn.length <= 11, `${drawn.length} times`)
  for (const line of drawn) assert.ok(line.length > 20 && line.length <= 80 && !line.includes("\n"), line)
  progress.end()
  assert.ok(seen.err.endsWith("\r\u001b[K"))
  assert.equal(seen.out, "")
})

test("what is said while a progress line stands is written above it", () => {
  const seen = watched({ json: false }, true)
  const all: string[] = []
  const output = new Output(
    { stdout: { write: (text) => all.push(text) }, stderr: { write: (text) => all.push(text), isTTY: true }, nowMs: () => seen.at },
    { json: false },
  )
  output.progress("verifying").update({ bytes: 1_000, totalBytes: 2_000 })
  const line = (all.at(-1) ?? "").replace("\r\u001b[K", "")
  output.say("found something")
  assert.deepEqual(all.slice(-3), ["\r\u001b[K", "found something\n", line])
  output.error({ code: "USAGE", message: "no", exitCode: 64 })
  assert.deepEqual(all.slice(-2), ["\r\u001b[K", "imagegrid: USAGE: no\n"])
})

test("progress where stderr is no terminal is a plain line every five seconds", () => {
  const seen = watched({ json: false })
  const progress = seen.output.progress("downloading")
  for (let second = 0; second <= 12; second++) {
    seen.at = second * 1_000
    progress.update({ bytes: second * 1_000_000, totalBytes: 100_000_000 })
  }
  progress.end()
  assert.equal(
    seen.err,
    "imagegrid: downloading [#-------------------] 5% 5.0 MB of 100.0 MB 1.0 MB/s 1 min 35 s left\n" +
      "imagegrid: downloading [##------------------] 10% 10.0 MB of 100.0 MB 1.0 MB/s 1 min 30 s left\n",
  )
})
