import assert from "node:assert/strict"
import { createReadStream } from "node:fs"
import { chmod, chown, link, mkdir, rename, rm, symlink, truncate, unlink, utimes, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { newImageIdentity } from "#crypto/age.ts"
import { openLayer } from "#image/open-layer.ts"
import { sealImage } from "#image/seal-image.ts"
import type { TreeIndex } from "#image/tree-index.ts"
import { unpackTree } from "#image/unpack.ts"
import { verifyTree, type Difference } from "#image/verify-tree.ts"
import { addXattrs, bytePath, indexOf, isRoot, makeEveryKind, run, temporaryDirectory } from "./support.ts"

type Deployed = { target: string; index: TreeIndex; xattrs: boolean; restore: () => Promise<void> }

async function deploy(t: TestContext): Promise<Deployed> {
  const work = await temporaryDirectory(t)
  const [source, target] = [join(work, "source"), join(work, "target")]
  await makeEveryKind(source)
  const xattrs = addXattrs(source)
  const { identity, recipient } = await newImageIdentity()
  const image = await sealImage({ directory: source, workDirectory: work, recipient })
  const restore = async (): Promise<void> => {
    await rm(target, { recursive: true, force: true })
    await mkdir(target)
    await unpackTree(openLayer(createReadStream(image.full.path), { identity, layer: image.full }), { target })
  }
  return { target, index: await indexOf(image.index, identity), xattrs, restore }
}

type Case = { what: string; spoil: (target: string) => Promise<void> | void; told: string[]; root?: true; xattrs?: true }

/** Sets the time of a directory back, so that only the change in question shows. */
const keepingTime = (directory: string, change: () => Promise<void> | void) => async (): Promise<void> => {
  const kept = `${tmpdir()}/imagegrid-time-${process.pid}`
  run("touch", "-r", directory, kept)
  await change()
  run("touch", "-r", kept, directory)
  await unlink(kept)
}

const within = (name: string, change: (directory: string) => Promise<void> | void) => (target: string) =>
  keepingTime(join(target, name), () => change(join(target, name)))()

const cases: Case[] = [
  { what: "a missing file", spoil: within("etc", (etc) => unlink(join(etc, "nothing"))), told: ["missing etc/nothing"] },
  {
    what: "an extra file and directory",
    spoil: within("etc", async (etc) => {
      await mkdir(join(etc, "more"))
      await writeFile(join(etc, "more/evil"), "")
    }),
    told: ["extra etc/more", "extra etc/more/evil"],
  },
  {
    what: "changed content of the same size and times",
    spoil: (target) => {
      const file = join(target, "big")
      return keepingTime(file, () => void run("sh", "-c", `printf X | dd of="${file}" bs=1 seek=2000000 conv=notrunc 2>&1`))()
    },
    told: ["content big"],
  },
  {
    what: "one bit in a hole",
    spoil: (target) => {
      run("sh", "-c", `cd "${target}" && printf '\\1' | dd of=holes bs=1 seek=7000000 conv=notrunc 2>&1`)
    },
    told: ["content holes", "mtime holes"],
  },
  {
    what: "a hole that became longer",
    spoil: (target) => truncate(join(target, "holes"), 9_000_000),
    told: ["content holes", "mtime holes"],
  },
  { what: "another mode", spoil: (target) => chmod(join(target, "etc/secret"), 0o644), told: ["mode etc/secret"] },
  {
    what: "a set-uid bit that is gone",
    spoil: (target) => chmod(join(target, "etc/hosts"), 0o755),
    told: ["mode etc/hosts", "mode etc/hosts.link"],
  },
  { what: "the mode of the top directory", spoil: (target) => chmod(target, 0o700), told: ["mode ."] },
  {
    what: "another time, by a nanosecond",
    spoil: (target) => void run("touch", "-d", "1969-12-31 23:59:58.500000001Z", join(target, "etc/nothing")),
    told: ["mtime etc/nothing"],
  },
  { what: "another time of a directory", spoil: (target) => utimes(join(target, "etc"), 1, 1), told: ["mtime etc"] },
  {
    what: "a symlink to elsewhere",
    spoil: within("etc", async (etc) => {
      await unlink(join(etc, "dangling"))
      await symlink("/nowhere/else", join(etc, "dangling"))
    }),
    told: ["link etc/dangling", "mtime etc/dangling"],
  },
  {
    what: "a hard link that became a file of its own",
    spoil: within("etc", (etc) => void run("sh", "-c", `cd "${etc}" && cp -a hosts.link copy && mv copy hosts.link`)),
    told: ["kind etc/hosts.link"],
  },
  {
    what: "a hard link to another file",
    spoil: within("etc", async (etc) => {
      await unlink(join(etc, "hosts.link"))
      await link(join(etc, "secret"), join(etc, "hosts.link"))
    }),
    told: ["kind etc/hosts.link", "kind etc/secret"],
  },
  {
    what: "a directory where a file was",
    spoil: within("etc", async (etc) => {
      await unlink(join(etc, "nothing"))
      await mkdir(join(etc, "nothing"))
    }),
    told: ["kind etc/nothing"],
  },
  {
    what: "a name that differs in a byte that is no UTF-8",
    spoil: (target) =>
      rename(bytePath(target, Buffer.from("caf\xe9\xff", "latin1")), bytePath(target, Buffer.from("caf\xe9\xfe", "latin1"))),
    told: ["mtime .", "extra caf\\xe9\\xfe", "missing caf\\xe9\\xff"],
  },
  { what: "another owner", root: true, spoil: (target) => chown(join(target, "owned"), 3_000_000, 0), told: ["owner owned"] },
  {
    what: "another device",
    root: true,
    spoil: within(".", (top) => void run("sh", "-c", `cd "${top}" && rm null && mknod -m 666 null c 1 5 && touch -d @1 null`)),
    told: ["device null", "mtime null"],
  },
  {
    what: "a block device for a character device",
    root: true,
    spoil: within(".", (top) => void run("sh", "-c", `cd "${top}" && rm null && mknod -m 666 null b 1 3`)),
    told: ["kind null"],
  },
  {
    what: "extended attributes changed, gone and new",
    xattrs: true,
    spoil: (target) => {
      const file = join(target, "etc/hosts")
      run("setfattr", "-n", "user.alpha", "-v", "other", file)
      run("setfattr", "-x", "user.zeta", file)
      run("setfattr", "-n", "user.new", "-v", "", file)
    },
    told: ["xattr etc/hosts", "xattr etc/hosts", "xattr etc/hosts"],
  },
]

test("each change to a deployed tree is named", async (t) => {
  const { target, index, xattrs, restore } = await deploy(t)
  for (const { what, spoil, told, ...needs } of cases)
    await t.test(what, async (one) => {
      if (needs.root && !isRoot) return one.skip("needs root")
      if (needs.xattrs && !xattrs) return one.skip("this file system has no extended attributes")
      await restore()
      assert.deepEqual((await verifyTree({ directory: target, index })).differences, [])
      await spoil(target)
      const { differences, differenceCount } = await verifyTree({ directory: target, index })
      const shown = differences.map((difference) => `${difference.what} ${difference.path}`)
      assert.deepEqual(shown.sort(), told.toSorted(), JSON.stringify(differences, null, 1))
      assert.equal(differenceCount, told.length)
    })
})

test("a difference says what was expected and what was found", async (t) => {
  const { target, index, restore } = await deploy(t)
  await restore()
  await chmod(join(target, "etc/secret"), 0o4644)
  run("touch", "-d", "1969-12-31 23:59:57.75Z", join(target, "etc/nothing"))
  const { differences } = await verifyTree({ directory: target, index })
  assert.deepEqual(differences, [
    { path: "etc/nothing", what: "mtime", expected: "-1.500000000", found: "-2.250000000" },
    { path: "etc/secret", what: "mode", expected: "0600", found: "4644" },
  ] satisfies Difference[])
})

test("no more than 1,000 differences are listed, all are counted", async (t) => {
  const { target, index, restore } = await deploy(t)
  await restore()
  await mkdir(join(target, "new"))
  for (let number = 0; number < 1_100; number += 1) await writeFile(join(target, "new", String(number)), "")
  const { differences, differenceCount } = await verifyTree({ directory: target, index })
  assert.equal(differences.length, 1_000)
  assert.equal(differenceCount, 1_100 + 2)
})

test("lost+found at the top, which mkfs makes, is no difference", async (t) => {
  const { target, index, restore } = await deploy(t)
  await restore()
  await keepingTime(target, () => mkdir(join(target, "lost+found")))()
  const { differences, entries } = await verifyTree({ directory: target, index })
  assert.deepEqual(differences, [])
  assert.equal(entries, index.entryCount)
})

test("progress goes up to all bytes of the files", async (t) => {
  const { target, index, restore } = await deploy(t)
  await restore()
  const seen: number[] = []
  await verifyTree({ directory: target, index, onProgress: ({ bytes, totalBytes }) => seen.push(bytes / totalBytes) })
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  )
  assert.equal(seen.at(-1), 1)
})
