import assert from "node:assert/strict"
import { test } from "node:test"
import { figuresOf, medianRun } from "../../bench/lab/result.ts"
import { hostResult, report, runOf, withFates } from "./lab-results.ts"

test("the ratio is the last host's time by size / rate", () => {
  const figures = figuresOf(runOf("imagegrid", [11, 12, 14]))
  assert.equal(figures.ratio, 1.4)
  assert.deepEqual(figures.seconds, { first: 11, median: 12, last: 14 })
})

test("the median of an even number of hosts lies between the two in the middle", () => {
  assert.equal(figuresOf(runOf("imagegrid", [10, 20, 11, 13])).seconds?.median, 12)
})

test("a run in which one host never had the file has no ratio", () => {
  const figures = figuresOf(runOf("rsync", [11, null]))
  assert.equal(figures.ratio, null)
  assert.equal(`${figures.finished}/${figures.expected}`, "1/2")
})

test("slow and late hosts do not count for the ratio, but must finish", () => {
  const figures = figuresOf(withFates(runOf("imagegrid", [90, 50, 12]), ["slow", "late", "usual"]))
  assert.equal(figures.ratio, 1.2)
  assert.equal(figures.expected, 3)
})

test("killed hosts are not waited for", () => {
  const figures = figuresOf(withFates(runOf("imagegrid", [null, 12]), ["killed", "usual"]))
  assert.equal(figures.ratio, 1.2)
  assert.equal(figures.expected, 1)
})

test("origin copies, duplicates and CPU-seconds are sums over those who reported", () => {
  const figures = figuresOf(runOf("imagegrid", [10, 10]))
  assert.equal(figures.originCopies, 1.2)
  assert.equal(figures.originCopiesFrom, "program")
  assert.equal(figures.duplicateShare, 200_000 / 20_200_000)
  assert.equal(figures.cpuSeconds, 5)
  assert.equal(figures.cpuSecondsPerGigabyte, 5 / 0.02)
})

test("where an origin can't tell what it sent, its link does, less the headers", () => {
  const run = runOf("rsync", [10])
  const origin = hostResult({ role: "origin", report: report({ uploadedBytes: null }), wireSentBytes: 15_140_000 })
  const figures = figuresOf({ ...run, hosts: [origin, ...run.hosts.slice(1)] })
  assert.equal(figures.originCopies, 1.448)
  assert.equal(figures.originCopiesFrom, "wire")
})

test("an origin that was killed is counted by its link as well", () => {
  const run = runOf("imagegrid", [10])
  const origin = hostResult({ role: "origin", fate: "leaving", report: null, wireSentBytes: 1_514_000 })
  assert.equal(figuresOf({ ...run, hosts: [origin, ...run.hosts.slice(1)] }).originCopiesFrom, "wire")
})

test("duplicates are unknown when one program does not tell them", () => {
  const run = runOf("udpcast", [10])
  const silent = run.hosts.map((host) => ({ ...host, report: report({ duplicateBytes: null, downloadedBytes: 5 }) }))
  assert.equal(figuresOf({ ...run, hosts: silent }).duplicateShare, null)
})

test("a run on a machine whose cores were busy for more than 85 % of the time is marked", () => {
  assert.equal(figuresOf(runOf("imagegrid", [10], { machineBusy: 0.86 })).cpuBound, true)
  assert.equal(figuresOf(runOf("imagegrid", [10], { machineBusy: 0.85 })).cpuBound, false)
})

test("the median run is the middle one, and one that did not finish is slower than all", () => {
  const [fast, usual, slow, never] = [runOf("x", [10]), runOf("x", [11]), runOf("x", [12]), runOf("x", [null])]
  assert.equal(medianRun([slow, fast, usual]), usual)
  assert.equal(medianRun([never, usual, never]), never)
  assert.equal(medianRun([usual, fast]), usual)
  assert.throws(() => medianRun([]), RangeError)
})
