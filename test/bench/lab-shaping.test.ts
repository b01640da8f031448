import assert from "node:assert/strict"
import { test } from "node:test"
import { delayLine, describeShaping, lossLines, shapingLine, shapingOf } from "../../bench/lab/shaping.ts"

const megabit = 1e6 / 8

test("a link's queue holds 75 ms and its bucket 5 ms of its rate", () => {
  assert.deepEqual(shapingOf(1_000 * megabit), { bitsPerSecond: 1e9, burstBytes: 625_000, queueBytes: 9_375_000 })
})

test("a slow link still has a bucket of 10 frames and a queue of 32", () => {
  assert.deepEqual(shapingOf(3 * megabit), { bitsPerSecond: 3e6, burstBytes: 15_140, queueBytes: 48_448 })
})

test("a rate is given to tc in whole bits, as a drop-tail token bucket", () => {
  assert.equal(shapingLine("h3", 30 * megabit), "qdisc replace dev h3 root handle 1: tbf rate 30000000bit burst 18750 limit 281250")
  assert.equal(shapingLine("eth0", 1e6 / 3), "qdisc replace dev eth0 root handle 1: tbf rate 2666667bit burst 15140 limit 48448")
})

test("people are told what the links were given", () => {
  assert.equal(describeShaping(30 * megabit), "tbf 30 Mbit/s each way, burst 18750 B, queue 281250 B (75 ms), 1,514-byte frames")
})

test("delay is netem's, behind the token bucket", () => {
  assert.equal(delayLine("eth0", 5), "qdisc add dev eth0 parent 1: netem delay 5ms limit 10000")
})

test("a share of packets is lost by a random 32-bit number below that share of its range", () => {
  const [clsact, filter] = lossLines("h3", 0.25, "sink")
  assert.equal(clsact, "qdisc add dev h3 clsact")
  assert.match(
    filter ?? "",
    /bytecode '4,32 0 0 4294963256,53 0 1 1073741824,6 0 0 0,6 0 0 4294967295' action mirred egress redirect dev sink$/,
  )
})
