import assert from "node:assert/strict"
import { test } from "node:test"
import { byteCount, durationMs, momentMs, wholeNumber } from "../../cli/values.ts"

test("times are read with their unit and refused without one, at zero and beyond the limit", () => {
  const limitMs = 7 * 86_400_000
  assert.equal(durationMs("--expires", "90s", limitMs), 90_000)
  assert.equal(durationMs("--expires", "7d", limitMs), limitMs)
  for (const text of ["90", "0s", "-1h", "1.5h", "8d", "soon", "1h ", "999999999d"])
    assert.throws(() => durationMs("--expires", text, limitMs), { code: "USAGE" }, text)
})

test("sizes are read in decimal and binary units", () => {
  assert.equal(byteCount("--pieces-of", "65536"), 65_536)
  assert.equal(byteCount("--pieces-of", "64KiB"), 65_536)
  assert.equal(byteCount("--max-bytes", "500KB"), 500_000)
  assert.equal(byteCount("--max-bytes", "1mb"), 1_000_000)
  for (const text of ["", "KB", "1XB", "-5", "1e6", "0x10"]) assert.throws(() => byteCount("--pieces-of", text), { code: "USAGE" }, text)
})

test("moments are read as a date, a time of it, or how long ago", () => {
  const nowMs = Date.UTC(2026, 10, 23, 12)
  assert.equal(momentMs("--since", "2026-11-23", nowMs), Date.UTC(2026, 10, 23))
  assert.equal(momentMs("--since", "2026-11-23T10:30Z", nowMs), Date.UTC(2026, 10, 23, 10, 30))
  assert.equal(momentMs("--since", "2026-11-23T10:30:15+01:00", nowMs), Date.UTC(2026, 10, 23, 9, 30, 15))
  assert.equal(momentMs("--since", "24h", nowMs), Date.UTC(2026, 10, 22, 12))
  for (const text of ["", "yesterday", "2026-13-01", "2026-11-23 10:00", "2026-11-23T10:00", "0h", "1700000000", "23.11.2026"])
    assert.throws(() => momentMs("--since", text, nowMs), { code: "USAGE" }, text)
})

test("whole numbers keep to their range", () => {
  assert.equal(wholeNumber("--uses", "40", { min: 1, max: 100 }), 40)
  for (const text of ["0", "101", "4.0", "four", "", " 4"])
    assert.throws(() => wholeNumber("--uses", text, { min: 1, max: 100 }), { code: "USAGE" }, text)
})
