/** The danger: someone who can write to a server's disk makes its audit log tell another story. */
import assert from "node:assert/strict"
import { readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { systemClock } from "../../core/clock.ts"
import { chainLines, hashOf, type AuditEntry } from "../../nodes/audit-entry.ts"
import { contradiction } from "../../nodes/audit-heads.ts"
import { AuditLog, describeFault } from "../../nodes/audit-log.ts"
import { temporaryDirectory } from "../store/torrents.ts"
import { auditHome, auditLog, eventOf, linesIn } from "./audit-home.ts"

async function tampered(context: TestContext, change: (lines: string[]) => string[]): Promise<{ directory: string; found: string }> {
  const directory = temporaryDirectory(context)
  for (let number = 1; number <= 5; number++) await auditLog(directory).append([eventOf("a", number)])
  writeFileSync(join(directory, "audit.jsonl"), `${change(linesIn(directory)).join("\n")}\n`)
  const { fault } = await auditLog(directory).check()
  return { directory, found: fault === null ? "" : describeFault(fault) }
}

const rewritten = (line: string | undefined, change: Partial<AuditEntry>): string =>
  JSON.stringify({ ...(JSON.parse(line ?? "") as AuditEntry), ...change })

test("a changed line is found at the one after it, which names both", async (context) => {
  const { found } = await tampered(context, (lines) => lines.with(2, rewritten(lines[2], { from: "203.0.113.9" })))
  assert.match(found, /^audit\.jsonl line 4: it names another line before it than stands there: entry 3 or this one was changed/)
})

test("a change of a single space is found too", async (context) => {
  const { found } = await tampered(context, (lines) => lines.with(2, (lines[2] ?? "").replace(",", ", ")))
  assert.match(found, /line 4: .*entry 3 or this one/)
})

test("a removed line is found where it stood", async (context) => {
  const { found } = await tampered(context, (lines) => lines.toSpliced(1, 1))
  assert.match(found, /^audit\.jsonl line 2: it is entry 3, and 2 follows here/)
})

test("two lines in each other's place are found at the first of them", async (context) => {
  const { found } = await tampered(context, ([a = "", b = "", c = "", d = "", e = ""]) => [a, c, b, d, e])
  assert.match(found, /^audit\.jsonl line 2: it is entry 3, and 2 follows here/)
})

test("an inserted line is found, whether it fits the line before it or not", async (context) => {
  const forged = await tampered(context, (lines) => lines.toSpliced(2, 0, lines[1] ?? ""))
  assert.match(forged.found, /^audit\.jsonl line 3: it is entry 2, and 3 follows here/)
  const fitting = await tampered(context, (lines) => {
    const line = chainLines({ seq: 2, hash: hashOf(Buffer.from(lines[1] ?? "")) }, [eventOf("forged", 1)], 1).bytes
    return lines.toSpliced(2, 0, line.toString().trimEnd())
  })
  assert.match(fitting.found, /^audit\.jsonl line 4: it is entry 3, and 4 follows here/)
})

test("a log without its beginning is found, and so is one whose first file is gone", async (context) => {
  const { found } = await tampered(context, (lines) => lines.slice(2))
  assert.match(found, /line 1: it is entry 3, and the log begins with entry 1: what stood before it is gone/)
  const directory = temporaryDirectory(context)
  for (let number = 1; number <= 9; number++) await auditLog(directory, { continueAboveBytes: 300 }).append([eventOf("a", number)])
  rmSync(join(directory, "audit-2.jsonl"))
  const { fault } = await auditLog(directory).check()
  assert.deepEqual([fault?.file, fault?.line], ["audit-3.jsonl", 1])
  // The next file that is put aside must not take the place of one that is there.
  const before = readFileSync(join(directory, "audit-3.jsonl"))
  for (let number = 1; number <= 9; number++) await auditLog(directory, { continueAboveBytes: 300 }).append([eventOf("a", number)])
  assert.ok(readFileSync(join(directory, "audit-3.jsonl")).equals(before))
})

test("lines that are no entries are named: not JSON, out of form, too long, empty", async (context) => {
  for (const line of ["not json", '{"seq":3}', `{"seq":3,"more":"${"x".repeat(3_000_000)}"}`, ""]) {
    const { found } = await tampered(context, (lines) => lines.with(2, line))
    assert.match(found, /^audit\.jsonl line 3: it is no entry/)
  }
})

test("a broken log is found at the start, is not touched, and goes on behind the break", async (context) => {
  const { directory } = await tampered(context, (lines) => lines.toSpliced(1, 1))
  const before = readFileSync(join(directory, "audit.jsonl"))
  const log = auditLog(directory)
  await log.start()
  assert.match(log.fault ?? "", /line 2: it is entry 3/)
  assert.ok(readFileSync(join(directory, "audit.jsonl")).equals(before))
  await log.append([eventOf("later", 1)])
  const after = await log.check()
  assert.deepEqual([after.entries, after.fault?.line], [6, 2])
})

test("a last line that is no entry keeps its place: the next one goes on behind it", async (context) => {
  const { directory } = await tampered(context, (lines) => lines.with(4, "scratched out"))
  const log = auditLog(directory)
  await log.append([eventOf("later", 1)])
  assert.match(log.fault ?? "", /last line of .* is no entry/)
  const { entries, fault } = await log.check()
  assert.deepEqual([entries, fault?.line], [6, 5])
})

test("a log that is cut while its server runs is noticed at the next look, and the server is told once", async (context) => {
  const directory = temporaryDirectory(context)
  const told: string[] = []
  const log = new AuditLog({ home: auditHome(directory), clock: systemClock, onFault: (fault) => told.push(fault) })
  for (let number = 1; number <= 5; number++) await log.append([eventOf("a", number)])
  writeFileSync(join(directory, "audit.jsonl"), `${linesIn(directory).slice(0, 3).join("\n")}\n`)
  await log.append([eventOf("later", 1)])
  assert.match(log.fault ?? "", /entry 5 was the last, and now another entry 3 is/)
  writeFileSync(join(directory, "audit.jsonl"), `${linesIn(directory).slice(0, 2).join("\n")}\n`)
  await log.append([eventOf("later", 2)])
  assert.deepEqual(told, [log.fault])
  assert.equal((await log.check()).fault, null, "by itself the shorter chain holds")
})

test("a rewritten history is contradicted by any head that a fellow saw of the old one, however long the new one is", () => {
  const head = (seq: number, hash: string) => ({ memberId: "", seq, hash, atMs: 1, signature: "", seenBy: "fellow" })
  const now = new Map([
    [2, "two"],
    [3, "other"],
    [4, "four"],
  ])
  const end = { seq: 4, hash: "four" }
  assert.equal(contradiction([head(2, "two"), head(4, "four"), head(0, "anything")], now, end), null)
  assert.match(
    contradiction([head(4, "four"), head(3, "three")], now, end)?.detail ?? "",
    /saw entry 3 .* entry 3 or one before it was changed/,
  )
  assert.match(contradiction([head(9, "nine")], now, end)?.detail ?? "", /saw entry 9 .* ends with entry 4: its end was cut off/)
})
