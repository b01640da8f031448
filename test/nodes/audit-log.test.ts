import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { once } from "node:events"
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { test } from "node:test"
import { NO_LINE, type AuditEntry } from "../../nodes/audit-entry.ts"
import { seededNumbers, temporaryDirectory } from "../store/torrents.ts"
import { auditLog, entriesOf, eventOf, linesIn, own } from "./audit-home.ts"

const appender = new URL("./audit-appender.ts", import.meta.url).pathname

test("each line names the SHA-256 of the line before, the first one zeros, and the file is its owner's alone", async (context) => {
  const directory = temporaryDirectory(context)
  const log = auditLog(directory)
  await log.append([eventOf("a", 1), eventOf("a", 2)])
  await log.append([eventOf("a", 3)])
  const lines = linesIn(directory)
  assert.equal(lines.length, 3)
  let prev = NO_LINE
  for (const [position, line] of lines.entries()) {
    const entry = JSON.parse(line) as AuditEntry
    assert.deepEqual([entry.seq, entry.prev, entry.what["number"]], [position + 1, prev, position + 1])
    assert.deepEqual(Object.keys(entry), ["seq", "atMs", "event", "actor", "from", "what", "prev"])
    prev = createHash("sha256").update(line).digest("hex")
  }
  assert.deepEqual(await log.head(), { seq: 3, hash: prev })
  assert.equal(statSync(join(directory, "audit.jsonl")).mode & 0o777, 0o600)
})

test("the chain holds over restarts, and over files that were put aside when they had grown long", async (context) => {
  const directory = temporaryDirectory(context)
  for (let number = 1; number <= 40; number++) await auditLog(directory, { continueAboveBytes: 1_000 }).append([eventOf("a", number)])
  const files = readdirSync(directory).filter((name) => name.startsWith("audit") && name.endsWith(".jsonl"))
  assert.ok(files.length >= 6, files.join())
  assert.ok(files.every((name) => statSync(join(directory, name)).size < 2_000))
  const log = auditLog(directory)
  await log.start()
  assert.deepEqual([log.fault, log.entries], [null, 40])
  const entries = await entriesOf(log)
  assert.deepEqual(
    entries.map(({ seq, what }) => [seq, what["number"]]),
    Array.from({ length: 40 }, (_, at) => [at + 1, at + 1]),
  )
})

test("a rotation that a crash left without a new file goes on with the chain", async (context) => {
  const directory = temporaryDirectory(context)
  await auditLog(directory).append([eventOf("a", 1)])
  await auditLog(directory, { continueAboveBytes: 1 }).append([eventOf("a", 2)])
  rmSync(join(directory, "audit.jsonl"))
  const log = auditLog(directory)
  await log.append([eventOf("a", 3)])
  assert.deepEqual(await log.check(), { entries: 2, head: await log.head(), fault: null })
})

test("what is appended at once is one chain in the order of asking", async (context) => {
  const log = auditLog(temporaryDirectory(context))
  await Promise.all(Array.from({ length: 200 }, (_, at) => log.append([eventOf("a", at)])))
  const entries = await entriesOf(log)
  assert.deepEqual(
    entries.map(({ what }) => what["number"]),
    Array.from({ length: 200 }, (_, at) => at),
  )
  assert.equal((await log.check()).fault, null)
})

test("three processes append at once, and nothing is lost, doubled or out of chain", async (context) => {
  const directory = temporaryDirectory(context)
  const names = ["first", "second"]
  const ended = names.map(async (name) => once(spawn(process.execPath, [appender, directory, "40", name], { stdio: "ignore" }), "exit"))
  const here = auditLog(directory, { continueAboveBytes: 5_000 })
  for (let number = 1; number <= 40; number++) await here.append([eventOf("here", number)])
  for (const exit of await Promise.all(ended)) assert.deepEqual(exit, [0, null])
  assert.equal((await here.check()).fault, null)
  assert.equal(here.fault, null)
  const entries = await entriesOf(here)
  for (const name of [...names, "here"])
    assert.deepEqual(
      entries.filter(({ what }) => what["who"] === name).map(({ what }) => what["number"]),
      Array.from({ length: 40 }, (_, at) => at + 1),
    )
  assert.equal(entries.length, 120)
})

test("a line that a crash cut off is taken away at the next start, and that is recorded", async (context) => {
  const directory = temporaryDirectory(context)
  await auditLog(directory).append([eventOf("a", 1), eventOf("a", 2)])
  const path = join(directory, "audit.jsonl")
  const whole = readFileSync(path)
  appendFileSync(path, '{"seq":3,"atMs":17')
  const log = auditLog(directory)
  assert.match((await log.check()).fault?.detail ?? "", /has no end: a crash/)
  await log.start()
  assert.equal(log.fault, null)
  assert.ok(readFileSync(path).subarray(0, whole.length).equals(whole))
  const [, , repair] = await entriesOf(log)
  assert.deepEqual([repair?.event, repair?.seq, repair?.actor.ids, repair?.what["cutBytes"]], ["log-repaired", 3, [own], 18])
  await log.start()
  assert.equal((await log.check()).entries, 3, "mended once")
})

test("a tail of zeros, as a power cut may leave it, is cut off like any other piece of a line", async (context) => {
  const directory = temporaryDirectory(context)
  await auditLog(directory).append([eventOf("a", 1)])
  appendFileSync(join(directory, "audit.jsonl"), Buffer.alloc(100_000))
  const log = auditLog(directory)
  await log.append([eventOf("a", 2)])
  assert.deepEqual(
    (await entriesOf(log)).map(({ event, what }) => [event, what["cutBytes"] ?? what["number"]]),
    [
      ["joined", 1],
      ["log-repaired", 100_000],
      ["joined", 2],
    ],
  )
  assert.equal((await log.check()).fault, null)
})

test("an appender killed at any moment loses nothing that it said was durable, and the chain holds after the next start", async (context) => {
  const directory = temporaryDirectory(context)
  const seed = 2_007
  const number = seededNumbers(seed)
  const durable = new Map<number, number>()
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, [appender, directory, "0", `round ${round}`], { stdio: ["ignore", "pipe", "inherit"] })
    const killAfter = 1 + number(20)
    const reader = createInterface({ input: child.stdout })
    reader.on("line", (line) => {
      durable.set(round, Number(line))
      if (Number(line) === killAfter) child.kill("SIGKILL")
    })
    await Promise.all([once(child, "exit"), once(reader, "close")])
    const log = auditLog(directory)
    await log.start()
    assert.equal(log.fault, null, `seed ${seed}, round ${round}`)
    const entries = await entriesOf(log)
    for (const [of, last] of durable)
      assert.ok(
        entries.filter(({ what }) => what["who"] === `round ${of}`).length >= last,
        `seed ${seed}, round ${round}: of round ${of}, ${last} were durable`,
      )
  }
})

test("events out of form are refused, and the log is as it was", async (context) => {
  const directory = temporaryDirectory(context)
  const log = auditLog(directory)
  await log.append([eventOf("a", 1)])
  await assert.rejects(log.append([{ ...eventOf("a", 2), event: "Not an event" }]), { code: "AUDIT_BROKEN" })
  await assert.rejects(log.append([{ ...eventOf("a", 2), what: { long: "x".repeat(9_000) } }]), { code: "AUDIT_BROKEN" })
  await log.append([eventOf("a", 2)])
  assert.equal((await log.check()).entries, 2)
  assert.ok(!existsSync(join(directory, "audit.lock.pid")))
})
