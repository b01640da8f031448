import assert from "node:assert/strict"
import { test } from "node:test"
import { formatBytes, formatDuration, formatProgressLine, formatRate, SlidingRate } from "../../cli/progress.ts"

test("formatBytes() keeps to three or four digits, and to binary units for exact powers of two", () => {
  for (const [bytes, text] of [
    [0, "0 B"],
    [1, "1 B"],
    [999, "999 B"],
    [1_000, "1.0 KB"],
    [1_024, "1 KiB"],
    [1_500, "1.5 KB"],
    [65_536, "64 KiB"],
    [999_949, "999.9 KB"],
    [999_950, "1.0 MB"],
    [1_048_576, "1 MiB"],
    [104_857_601, "104.9 MB"],
    [6 * 1024 ** 3, "6.4 GB"],
    [2 ** 40, "1 TiB"],
    [1.5e15, "1.5 PB"],
    [-5, "0 B"],
  ] as const)
    assert.equal(formatBytes(bytes), text)
})

test("formatRate() never claims an exact unit for what was measured", () => {
  for (const [rate, text] of [
    [0, "0 B/s"],
    [1_024, "1.0 KB/s"],
    [1_048_576, "1.0 MB/s"],
    [12_345_678, "12.3 MB/s"],
  ] as const)
    assert.equal(formatRate(rate), text)
})

test("formatDuration() gives the two largest units that say something", () => {
  for (const [ms, text] of [
    [0, "0 ms"],
    [999.4, "999 ms"],
    [999.6, "1.0 s"],
    [12_345, "12.3 s"],
    [59_949, "59.9 s"],
    [59_950, "1 min 00 s"],
    [125_000, "2 min 05 s"],
    [3_599_499, "59 min 59 s"],
    [3_599_500, "1 h 00 min"],
    [3_720_000, "1 h 02 min"],
    [86_399_999, "1 d 00 h"],
    [273_600_000, "3 d 04 h"],
    [Infinity, "unknown time"],
    [-1, "0 ms"],
  ] as const)
    assert.equal(formatDuration(ms), text)
})

test("a progress line fits its columns whatever the figures, and drops the bar before anything else", () => {
  for (const totalBytes of [null, 0, 1, 1_000, 999_999_999_999_999])
    for (const bytes of [0, 1, 999, 999_999_999_999_999])
      for (const bytesPerSecond of [0, 1, 987_654_321]) {
        const line = formatProgressLine({ phase: "downloading", bytes, totalBytes, bytesPerSecond })
        assert.ok(line.length <= 80, line)
        assert.match(line, /^downloading/)
      }
  const wide = formatProgressLine({ phase: "downloading", bytes: 500_000_001, totalBytes: 900_000_001, bytesPerSecond: 1_000 }, 80)
  assert.doesNotMatch(wide, /#/)
  assert.match(wide, / 55% .*500\.0 MB of 900\.0 MB .*left$/)
})

test("a progress line says the share done, the rate and the time left", () => {
  assert.equal(
    formatProgressLine({ phase: "unpacking", bytes: 25_000_000, totalBytes: 100_000_000, bytesPerSecond: 5_000_000 }, 100),
    "unpacking   [#####---------------]  25%  25.0 MB of 100.0 MB  5.0 MB/s  15.0 s left",
  )
  assert.equal(
    formatProgressLine({ phase: "seeding", bytes: 25_000_000, totalBytes: null, bytesPerSecond: 5_000_000 }),
    "seeding     25.0 MB  5.0 MB/s",
  )
  assert.doesNotMatch(formatProgressLine({ phase: "done", bytes: 2, totalBytes: 2, bytesPerSecond: 5 }), /left/)
})

test("the rate follows the last seconds, not the whole of the past", () => {
  const rate = new SlidingRate()
  assert.equal(rate.add(0, 0), 0)
  assert.equal(rate.add(1_000, 1_000), 1_000)
  for (let second = 2; second <= 20; second++) rate.add(1_000 * second, second * 1_000)
  for (let second = 21; second < 26; second++) rate.add(20_000, second * 1_000)
  assert.equal(rate.add(20_000, 26_000), 0, "five silent seconds are a rate of nothing")
})

test("the rate is never negative, and the same moment twice is no division by nothing", () => {
  const rate = new SlidingRate()
  rate.add(5_000, 1_000)
  assert.equal(rate.add(6_000, 1_000), 0)
  assert.equal(rate.add(0, 2_000), 0)
})
