/** What the lab reads from the kernel, from its peers and from its command line. */
import assert from "node:assert/strict"
import { describe, test } from "node:test"
import { parseLinkBytes, parseSiteBytes } from "../../bench/lab/link-counters.ts"
import { busyShare, parseCpuTime } from "../../bench/lab/machine.ts"
import { labHelp, readLabOptions } from "../../bench/lab/options.ts"
import { readPeerLine } from "../../bench/lab/peer-protocol.ts"
import { rateSamples } from "../../bench/lab/rate-samples.ts"
import { report } from "./lab-results.ts"

const DEVICES = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
    h2:     222      12    0    0    0     0          0         0     2220      15    0    0    0     0       0          0
   h11: 1111111      34    0    0    0     0          0         0 11111110      75    0    0    0     0       0          0
`

describe("link counters", () => {
  test("a host receives what the bridge's end of its link transmits", () => {
    assert.deepEqual(parseLinkBytes(DEVICES, [{ number: 11 }, { number: 2 }]), [
      { sentBytes: 1_111_111, receivedBytes: 11_111_110 },
      { sentBytes: 222, receivedBytes: 2_220 },
    ])
  })

  test("a site sends what its own end of its wide-area link transmits", () => {
    const text = DEVICES.replace("   h11:", "  wan1:")
    assert.deepEqual(parseSiteBytes(text, [0, 1]), [
      { sentBytes: 0, receivedBytes: 0 },
      { sentBytes: 11_111_110, receivedBytes: 1_111_111 },
    ])
  })

  test("a link that is not there has carried nothing", () => {
    assert.deepEqual(parseLinkBytes(DEVICES, [{ number: 1 }]), [{ sentBytes: 0, receivedBytes: 0 }])
  })

  test("rates are differences by the time that really passed", () => {
    const sample = (atMs: number, receivedBytes: number) => ({ atMs, links: [{ sentBytes: 2 * receivedBytes, receivedBytes }], sites: [] })
    assert.deepEqual(rateSamples([sample(5_000, 100), sample(5_250, 350), sample(5_750, 1_350)]), {
      atSeconds: [0.25, 0.75],
      receivedBytesPerSecond: [[1_000, 2_000]],
      sentBytesPerSecond: [[2_000, 4_000]],
    })
  })

  test("a long run is kept in at most 500 intervals, and no byte of it is lost", () => {
    const samples = Array.from({ length: 5_101 }, (_, index) => ({
      atMs: index * 250,
      links: [{ sentBytes: 0, receivedBytes: index * 250 }],
      sites: [],
    }))
    const { atSeconds, receivedBytesPerSecond } = rateSamples(samples)
    assert.ok(atSeconds.length <= 500, `${atSeconds.length} intervals`)
    assert.equal(atSeconds.at(-1), 1_275)
    assert.ok(receivedBytesPerSecond[0]?.every((rate) => rate === 1_000))
  })
})

test("the machine is busy with all that is neither idle nor waiting for a disk", () => {
  const before = parseCpuTime("cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
  const after = parseCpuTime("cpu  130 10 60 840 60 5 5 0 99 99\n")
  assert.equal(busyShare(before, after), 60 / 110)
  assert.equal(busyShare(before, before), 0)
})

describe("lines of a peer", () => {
  test("ready, done and report are understood", () => {
    const lines = [{ kind: "ready" }, { kind: "done", atMs: 12.5 }, { kind: "report", report: report({ downloadedBytes: null }) }]
    for (const line of lines) assert.deepEqual(readPeerLine(JSON.stringify(line)), line)
  })

  for (const [what, line] of [
    ["other text", "loading..."],
    ["an unknown kind", '{"kind":"hello"}'],
    ["a time that is none", '{"kind":"done","atMs":"soon"}'],
    ["a report without its numbers", '{"kind":"report","report":{}}'],
  ] as const)
    test(`${what} is refused`, () => {
      assert.throws(() => readPeerLine(line), { code: "REQUEST_INVALID" })
    })
})

describe("the command line", () => {
  test("what is not said has the defaults of the issue: 16 hosts, 30 Mbit/s, 64 MiB", () => {
    const options = readLabOptions([])
    assert.deepEqual([options?.scenarios.length, options?.transports, options?.repeat, options?.congestion], [1, ["imagegrid"], 1, "cubic"])
    assert.deepEqual([options?.scenarios[0].hosts, options?.scenarios[0].contentBytes], [16, 64 * 1024 * 1024])
  })

  test("several transports and numbers of hosts are played in their order, each once", () => {
    const options = readLabOptions(["--transport", "rsync,imagegrid,rsync", "--sweep", "4,8,16", "--limit", "30"])
    assert.deepEqual(options?.transports, ["rsync", "imagegrid"])
    assert.deepEqual(
      options?.scenarios.map(({ hosts }) => hosts),
      [4, 8, 16],
    )
    assert.equal(options?.limitSeconds, 30)
  })

  test("help is asked for with --help, and every option is in it", () => {
    assert.equal(readLabOptions(["--help"]), null)
    for (const option of ["hosts", "transport", "sweep", "repeat", "limit", "congestion", "offload", "json", "figures", "delay", "loss"])
      assert.ok(labHelp.includes(`--${option} `), option)
  })

  for (const words of [
    ["--transport", "ftp"],
    ["--transport", ""],
    ["--sweep", "4,,8"],
    ["--repeat", "0"],
    ["--limit", "-1"],
    ["--congestion", "cubic dev eth1"],
    ["--hosts", "none"],
    ["--sweep", "2", "--slow", "3"],
    ["--kill-gateways", "1"],
    ["--sites", "2", "--wan-delay", "20ms"],
    ["--unknown"],
    ["word"],
  ])
    test(`${words.join(" ")} is refused`, () => {
      assert.throws(
        () => readLabOptions(words),
        (error) => error instanceof RangeError || error instanceof TypeError,
      )
    })
})
