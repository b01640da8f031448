import assert from "node:assert/strict"
import { test } from "node:test"
import { resultTable } from "../../bench/lab/table.ts"
import { runOf, withFates } from "./lab-results.ts"

test("each transport has a line, under titles and in columns", () => {
  const lines = resultTable([runOf("imagegrid", [11, 12]), runOf("rsync", [20, 120.5])]).split("\n")
  assert.deepEqual(lines, [
    "transport  finished  seconds   ratio  median s  first s  origin copies  dup %  CPU-s  CPU-s/GB  busy %",
    "imagegrid       2/2    12.00   1.200     11.50    11.00           1.20   0.99    5.0    250.00      50",
    "rsync           2/2   120.50  12.050     70.25    20.00           1.20   0.99    5.0    250.00      50",
  ])
})

test("a run that was ended shows dashes, and says after how long", () => {
  const text = resultTable([runOf("rsync", [11, null])])
  assert.match(text, /^rsync +1\/2 +- +- /m)
  assert.match(text, /rsync: ended after 99 s, 9\.9 times the ideal, before all had the file/)
})

test("slow and late hosts have lines of their own", () => {
  const text = resultTable([withFates(runOf("imagegrid", [91, 92, 7, 12]), ["slow", "slow", "late", "usual"])])
  assert.match(text, /^imagegrid +4\/4 +12\.00 +1\.200 /m)
  assert.match(text, /imagegrid: 2 slow: first 91\.00 s, last 92\.00 s/)
  assert.match(text, /imagegrid: 1 late: first 7\.00 s, last 7\.00 s from their own start/)
})

test("killed hosts, a busy machine and a limit by the machine are told", () => {
  const busy = runOf("imagegrid", [12, null], { machineBusy: 0.97, machineBusyBefore: 0.4, outcome: "finished" })
  const text = resultTable([withFates(busy, ["usual", "killed"])])
  assert.match(text, / 97 CPU-bound$/m)
  assert.match(text, /imagegrid: 1 hosts were killed midway/)
  assert.match(text, /other work kept 40 % of the cores busy just before the start/)
})
