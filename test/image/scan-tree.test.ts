import assert from "node:assert/strict"
import { execFileSync, spawnSync } from "node:child_process"
import {
  appendFileSync,
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { captureTree } from "#image/capture.ts"
import type { Entry } from "#image/entry.ts"
import { ReadBehind } from "#image/read-behind.ts"
import { scanTree, type Reading } from "#image/scan-tree.ts"
import { unpackTree } from "#image/unpack.ts"
import { editTree, growTree } from "./random-trees.ts"
import { dice, isRoot, noise, temporaryDirectory } from "./support.ts"

/** What changed less than two seconds before a reading is read the next time whatever it looks like. */
const SETTLED_MS = 2_100

async function read(directory: string): Promise<Entry[]> {
  const entries: Entry[] = []
  await captureTree({ directory, onEntry: (entry) => entries.push(entry) })
  return entries
}

type Settled = { readonly directory: string; readonly earlier: Reading }

/** So many trees, each with a reading that knows everything. */
async function settled(t: TestContext, count: number): Promise<Settled[]> {
  const directories: string[] = []
  for (let number = 0; number < count; number += 1) directories.push(await smallTree(t))
  await sleep(SETTLED_MS)
  const trees: Settled[] = []
  for (const directory of directories) trees.push({ directory, earlier: await scanTree({ directory, earlier: null }) })
  return trees
}

async function smallTree(t: TestContext): Promise<string> {
  const directory = await temporaryDirectory(t)
  mkdirSync(join(directory, "inner"))
  writeFileSync(join(directory, "inner", "one"), "one")
  writeFileSync(join(directory, "inner", "two"), noise(300_000, 2))
  linkSync(join(directory, "inner", "one"), join(directory, "linked"))
  writeFileSync(join(directory, "plain"), "plain")
  symlinkSync("plain", join(directory, "link"))
  execFileSync("mkfifo", [join(directory, "pipe")])
  return directory
}

const changes: readonly {
  readonly what: string
  readonly change: (top: string) => void
  readonly readFiles: number
  readonly needsRoot?: boolean
}[] = [
  { what: "nothing", change: () => {}, readFiles: 0 },
  { what: "bytes behind the end", change: (top) => appendFileSync(join(top, "plain"), "!"), readFiles: 1 },
  {
    what: "other bytes of the same length with the old times",
    change: (top) => {
      writeFileSync(join(top, "plain"), "PLAIN")
      utimesSync(join(top, "plain"), 1, 1)
    },
    readFiles: 1,
  },
  { what: "a mode", change: (top) => chmodSync(join(top, "plain"), 0o600), readFiles: 1 },
  { what: "an owner", change: (top) => chownSync(join(top, "plain"), 7, 8), readFiles: 1, needsRoot: true },
  { what: "a time", change: (top) => utimesSync(join(top, "plain"), 5, 5), readFiles: 1 },
  {
    what: "an extended attribute",
    change: (top) => assert.equal(spawnSync("setfattr", ["-n", "user.colour", "-v", "blue", join(top, "plain")]).status, 0),
    readFiles: 1,
  },
  { what: "a further name", change: (top) => linkSync(join(top, "plain"), join(top, "plain-too")), readFiles: 1 },
  { what: "the loss of a further name", change: (top) => rmSync(join(top, "linked")), readFiles: 1 },
  { what: "the loss of the first of two names", change: (top) => rmSync(join(top, "inner", "one")), readFiles: 1 },
  { what: "another name", change: (top) => renameSync(join(top, "plain"), join(top, "named")), readFiles: 1 },
  { what: "a file in another's place", change: (top) => renameSync(join(top, "inner", "two"), join(top, "plain")), readFiles: 1 },
  {
    what: "a directory where a file was",
    change: (top) => {
      rmSync(join(top, "plain"))
      mkdirSync(join(top, "plain"))
    },
    readFiles: 0,
  },
  {
    what: "where a link leads",
    change: (top) => {
      rmSync(join(top, "link"))
      symlinkSync("inner", join(top, "link"))
    },
    readFiles: 0,
  },
  { what: "a further name of a pipe", change: (top) => linkSync(join(top, "pipe"), join(top, "pipe-too")), readFiles: 0 },
  { what: "a pipe that is gone", change: (top) => rmSync(join(top, "pipe")), readFiles: 0 },
]

test("what changed is seen, and nothing else is read", async (t) => {
  const possible = changes.filter(({ needsRoot }) => needsRoot !== true || isRoot)
  const trees = await settled(t, possible.length)
  for (const [number, { what, change, readFiles }] of possible.entries())
    await t.test(what, async () => {
      const { directory, earlier } = trees[number] as Settled
      change(directory)
      const again = await scanTree({ directory, earlier })
      assert.deepEqual(again.entries, await read(directory))
      assert.equal(again.readFiles, readFiles)
    })
})

test("what changed just before a reading is read again the next time", async (t) => {
  const directory = await temporaryDirectory(t)
  writeFileSync(join(directory, "fresh"), "fresh")
  const earlier = await scanTree({ directory, earlier: null })
  assert.equal((await scanTree({ directory, earlier })).readFiles, 1)
})

test("random edits of random trees are all seen", async (t) => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const directory = await temporaryDirectory(t)
    const roll = dice(seed * 6_700_417)
    growTree(directory, roll)
    const earlier = await scanTree({ directory, earlier: null })
    editTree(directory, roll)
    assert.deepEqual((await scanTree({ directory, earlier })).entries, await read(directory), `seed ${seed}`)
    rmSync(directory, { recursive: true })
  }
})

/** Unpacks an archive of `source` into a new directory, reading back what tar made. */
async function unpackAndReadBehind(t: TestContext, source: string): Promise<{ readonly target: string; readonly reading: Reading }> {
  const target = await temporaryDirectory(t)
  const archive = execFileSync(
    "tar",
    ["--create", "--sort=name", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--xattrs", `--directory=${source}`, "."],
    {
      maxBuffer: 64 * 1024 * 1024,
    },
  )
  const stop = new AbortController()
  t.after(() => stop.abort())
  const behind = new ReadBehind(target, stop.signal)
  const chunks = async function* () {
    for (let at = 0; at < archive.length; at += 100_000) {
      yield archive.subarray(at, at + 100_000)
      await sleep(1)
    }
  }
  await unpackTree(chunks(), { target, onMade: (entry) => behind.made(entry) })
  return { target, reading: await behind.end() }
}

async function manyFiles(t: TestContext): Promise<string> {
  const source = await temporaryDirectory(t)
  for (let number = 100; number < 160; number += 1) {
    mkdirSync(join(source, `d${number}`))
    writeFileSync(join(source, `d${number}`, "file"), noise(150_000, number))
  }
  linkSync(join(source, "d100", "file"), join(source, "d159", "linked"))
  symlinkSync("d100/file", join(source, "link"))
  return source
}

test("most of what is unpacked is read back while tar still works, and not again", async (t) => {
  const source = await manyFiles(t)
  const { target, reading } = await unpackAndReadBehind(t, source)
  const scan = await scanTree({ directory: target, earlier: reading })
  assert.deepEqual(scan.entries, await read(source))
  assert.ok([...reading.entries].length >= 40, `${[...reading.entries].length} of 60 files were read early`)
  assert.ok(scan.readFiles <= 20, `${scan.readFiles} of 60 files were read at the end`)
})

test("what is changed after it was read back is read again", async (t) => {
  const { target, reading } = await unpackAndReadBehind(t, await manyFiles(t))
  // As a faulty disk or another program would, with the time put back.
  writeFileSync(join(target, "d105", "file"), noise(150_000, 7))
  utimesSync(join(target, "d105", "file"), 1, 1)
  rmSync(join(target, "d106", "file"))
  const scan = await scanTree({ directory: target, earlier: reading })
  assert.deepEqual(scan.entries, await read(target))
})

test("a reading that is cut off knows nothing, and fails nobody", async (t) => {
  const directory = await temporaryDirectory(t)
  writeFileSync(join(directory, "file"), "file")
  const stop = new AbortController()
  const behind = new ReadBehind(directory, stop.signal)
  stop.abort(new Error("stopped"))
  const entry = (await read(directory)).find(({ kind }) => kind === "file")
  if (entry !== undefined) behind.made(entry)
  assert.deepEqual([...(await behind.end()).entries], [])
})
