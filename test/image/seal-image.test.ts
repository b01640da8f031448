import assert from "node:assert/strict"
import { createHash } from "node:crypto"
import { createReadStream } from "node:fs"
import { chmod, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { setImmediate as nextTurn } from "node:timers/promises"
import { GridError } from "#core/errors.ts"
import { newImageIdentity } from "#crypto/age.ts"
import { openLayer } from "#image/open-layer.ts"
import { sealImage, type SealProgress } from "#image/seal-image.ts"
import { unpackTree } from "#image/unpack.ts"
import { verifyTree } from "#image/verify-tree.ts"
import { addXattrs, contentOf, indexOf, isRoot, makeEveryKind, missingTool, noise, run, temporaryDirectory } from "./support.ts"

const isCode =
  (code: string, text = /(?:)/) =>
  (error: unknown) =>
    error instanceof GridError && error.code === code && text.test(error.detail)

test("a tree with every kind of entry comes back the same, to rsync and to verifyTree", async (t) => {
  if (!isRoot) t.diagnostic("not root: without devices, other owners and capabilities")
  const work = await temporaryDirectory(t)
  const [source, target] = [join(work, "source"), join(work, "target")]
  await mkdir(target)
  await makeEveryKind(source)
  if (!addXattrs(source)) t.diagnostic("this file system has no extended attributes")
  const { identity, recipient } = await newImageIdentity()
  const image = await sealImage({ directory: source, workDirectory: work, recipient })
  const index = await indexOf(image.index, identity)
  assert.equal(index.entryCount, image.entryCount)

  await unpackTree(openLayer(createReadStream(image.full.path), { identity, layer: image.full }), { target })
  const { entries, differences, differenceCount } = await verifyTree({ directory: target, index })
  assert.deepEqual({ entries, differences, differenceCount }, { entries: image.entryCount, differences: [], differenceCount: 0 })

  const missing = missingTool("rsync")
  if (missing !== false) t.diagnostic(`not compared by rsync: ${missing}`)
  else assert.equal(run("rsync", "-naHAXi", "--checksum", "--delete", "--numeric-ids", `${source}/`, `${target}/`), "")
})

test("each file of a sealed image is whole: its digests, its torrent's pieces and its index agree with its bytes", async (t) => {
  const work = await temporaryDirectory(t)
  await makeEveryKind(join(work, "source"))
  const { identity, recipient } = await newImageIdentity()
  const image = await sealImage({ directory: join(work, "source"), workDirectory: work, recipient, pieceBytes: 32_768 })
  for (const layer of [image.full, image.index]) {
    const sealed = await readFile(layer.path)
    const content = await contentOf(layer, identity)
    assert.equal(sealed.length, layer.sealedBytes)
    assert.equal(createHash("sha256").update(sealed).digest("hex"), layer.sealedSha256)
    assert.equal(content.length, layer.contentBytes)
    assert.equal(createHash("sha256").update(content).digest("hex"), layer.contentSha256)
    assert.equal(layer.torrent.name, "imagegrid-layer")
    assert.equal(layer.torrent.contentBytes, sealed.length)
    assert.equal(layer.torrent.pieceBytes, 32_768)
    const digests = []
    for (let at = 0; at < sealed.length; at += 32_768)
      digests.push(
        createHash("sha1")
          .update(sealed.subarray(at, at + 32_768))
          .digest(),
      )
    assert.ok(layer.torrent.pieceDigests.equals(Buffer.concat(digests)))
  }
})

test("the index says of each file what sha256sum says", async (t) => {
  const work = await temporaryDirectory(t)
  const source = join(work, "source")
  await mkdir(source)
  for (const length of [0, 1, 511, 512, 513, 65_536, 1_048_575, 1_048_576, 3_000_001])
    await writeFile(join(source, String(length)), noise(length, length))
  const { identity, recipient } = await newImageIdentity()
  const image = await sealImage({ directory: source, workDirectory: work, recipient })
  let files = 0
  for (const entry of (await indexOf(image.index, identity)).entries()) {
    if (entry.kind !== "file") continue
    files += 1
    const content = await readFile(join(source, entry.path))
    assert.equal(entry.size, content.length)
    assert.equal(entry.sha256, createHash("sha256").update(content).digest("hex"))
  }
  assert.equal(files, 9)
})

test("two captures of a tree give the same content, sealed to fresh keys each time", async (t) => {
  const work = await temporaryDirectory(t)
  await makeEveryKind(join(work, "source"))
  const { recipient } = await newImageIdentity()
  const first = await sealImage({ directory: join(work, "source"), workDirectory: work, recipient })
  process.env["TAR_OPTIONS"] = "--exclude=etc"
  process.env["POSIXLY_CORRECT"] = "1"
  t.after(() => {
    delete process.env["TAR_OPTIONS"]
    delete process.env["POSIXLY_CORRECT"]
  })
  const second = await sealImage({ directory: join(work, "source"), workDirectory: work, recipient })
  assert.equal(second.full.contentSha256, first.full.contentSha256)
  assert.equal(second.index.contentSha256, first.index.contentSha256)
  assert.notEqual(second.full.sealedSha256, first.full.sealedSha256)
})

test(
  "extended attributes set in another order give the same content",
  { skip: missingTool("setfattr", "setfacl", "setcap") },
  async (t) => {
    const work = await temporaryDirectory(t)
    const { recipient } = await newImageIdentity()
    const digests = []
    const names = ["user.one", "user.two", "user.three", "user.four"]
    for (const order of [names, names.toReversed()]) {
      const source = join(work, "source")
      await mkdir(source)
      await writeFile(join(source, "file"), "content")
      for (const name of order)
        try {
          run("setfattr", "-n", name, "-v", name, join(source, "file"))
        } catch {
          t.skip("this file system has no extended attributes")
          return
        }
      run("touch", "-d", "@1700000000", join(source, "file"), source)
      digests.push((await sealImage({ directory: source, workDirectory: work, recipient })).full.contentSha256)
      await rm(source, { recursive: true })
    }
    assert.equal(digests[0], digests[1])
  },
)

test("a file with a hole of a terabyte is captured and verified in no more time than its bytes take", async (t) => {
  const work = await temporaryDirectory(t)
  const [source, target] = [join(work, "source"), join(work, "target")]
  await mkdir(source)
  await mkdir(target)
  await writeFile(join(source, "hole"), "start")
  try {
    await truncate(join(source, "hole"), 2 ** 40)
  } catch {
    t.skip("this file system takes no file of a terabyte")
    return
  }
  const { identity, recipient } = await newImageIdentity()
  const cpu = process.cpuUsage()
  const image = await sealImage({ directory: source, workDirectory: work, recipient })
  await unpackTree(openLayer(createReadStream(image.full.path), { identity, layer: image.full }), { target })
  const { differences } = await verifyTree({ directory: target, index: await indexOf(image.index, identity) })
  const spent = process.cpuUsage(cpu)
  assert.deepEqual(differences, [])
  assert.ok(image.full.contentBytes < 100_000)
  assert.ok(spent.user + spent.system < 5_000_000, `${(spent.user + spent.system) / 1e6} CPU-seconds`)
})

test("a socket is left out and counted", async (t) => {
  const work = await temporaryDirectory(t)
  const source = join(work, "source")
  await mkdir(source)
  const { createServer } = await import("node:net")
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(join(source, "socket"), resolve))
  t.after(() => server.close())
  const { recipient } = await newImageIdentity()
  const image = await sealImage({ directory: source, workDirectory: work, recipient })
  assert.equal(image.socketCount, 1)
  assert.equal(image.entryCount, 1)
})

test("a source that is missing, no directory or not readable is refused with SOURCE_MISSING, and nothing is left", async (t) => {
  const work = await temporaryDirectory(t)
  const { recipient } = await newImageIdentity()
  await writeFile(join(work, "file"), "")
  await symlink("nowhere", join(work, "dangling"))
  const before = await readdir(work)
  for (const name of ["missing", "file", "dangling", "file/below"])
    await assert.rejects(sealImage({ directory: join(work, name), workDirectory: work, recipient }), isCode("SOURCE_MISSING"), name)
  assert.deepEqual(await readdir(work), before)
})

test("a directory that this user may not read is refused by name", { skip: isRoot && "root may read everything" }, async (t) => {
  const work = await temporaryDirectory(t)
  const { recipient } = await newImageIdentity()
  await mkdir(join(work, "source/closed"), { recursive: true })
  await chmod(join(work, "source/closed"), 0)
  await assert.rejects(
    sealImage({ directory: join(work, "source"), workDirectory: work, recipient }),
    isCode("CAPTURE_FAILED", /closed: Cannot open: Permission denied/),
  )
  await chmod(join(work, "source"), 0)
  await assert.rejects(sealImage({ directory: join(work, "source"), workDirectory: work, recipient }), isCode("SOURCE_MISSING"))
  await chmod(join(work, "source"), 0o700)
  await chmod(join(work, "source/closed"), 0o700)
})

test("a file that changes while it is read ends the capture by name, and nothing is left", async (t) => {
  const work = await temporaryDirectory(t)
  const source = join(work, "source")
  await mkdir(source)
  await writeFile(join(source, "growing"), noise(48 * 1024 * 1024, 3))
  const { recipient } = await newImageIdentity()
  const changes: Promise<void>[] = []
  await assert.rejects(
    sealImage({
      directory: source,
      workDirectory: work,
      recipient,
      onProgress: ({ contentBytes }) => {
        if (contentBytes > 0 && changes.length === 0) changes.push(truncate(join(source, "growing"), 1000))
      },
    }),
    isCode("CAPTURE_FAILED", /growing: (?:File shrank|file changed)/),
  )
  await Promise.all(changes)
  assert.deepEqual(await readdir(work), ["source"])
})

test("a capture that is aborted throws the reason and leaves nothing", async (t) => {
  const work = await temporaryDirectory(t)
  const source = join(work, "source")
  await mkdir(source)
  await writeFile(join(source, "big"), noise(48 * 1024 * 1024, 5))
  const { recipient } = await newImageIdentity()
  const abort = new AbortController()
  const reason = new Error("enough")
  const seen: SealProgress[] = []
  const sealing = sealImage({
    directory: source,
    workDirectory: work,
    recipient,
    signal: abort.signal,
    onProgress: (progress) => {
      seen.push(progress)
      if (progress.contentBytes > 0) abort.abort(reason)
    },
  })
  await assert.rejects(sealing, (error) => error === reason)
  await nextTurn()
  assert.ok(seen.length >= 2)
  assert.deepEqual(await readdir(work), ["source"])
  await assert.rejects(
    sealImage({ directory: source, workDirectory: work, recipient, signal: AbortSignal.abort(reason) }),
    (error) => error === reason,
  )
  assert.deepEqual(await readdir(work), ["source"])
})

test("a machine without GNU tar is told to install it", async (t) => {
  const work = await temporaryDirectory(t)
  await writeFile(join(work, "tar"), "#!/bin/sh\necho bsdtar 3.6\n", { mode: 0o755 })
  const script = `
    import { sealImage } from "#image/seal-image.ts"
    import { newImageIdentity } from "#crypto/age.ts"
    const { recipient } = await newImageIdentity()
    await sealImage({ directory: ".", workDirectory: ${JSON.stringify(work)}, recipient }).catch((error) => console.log(error.code, error.detail))`
  const { spawnSync } = await import("node:child_process")
  for (const [path, found] of [
    [work, /^TOOL_MISSING expected GNU tar on the PATH, found "bsdtar 3.6"/],
    [join(work, "nothing-here"), /^TOOL_MISSING expected GNU tar on the PATH, found no tar/],
  ] as const) {
    const child = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      env: { PATH: path },
      encoding: "utf8",
      cwd: join(import.meta.dirname, "../.."),
    })
    assert.match(child.stdout, found, child.stderr)
  }
  assert.deepEqual(await readdir(work), ["tar"])
})

test("a length of pieces that no torrent has is the caller's mistake", async (t) => {
  const work = await temporaryDirectory(t)
  const { recipient } = await newImageIdentity()
  for (const pieceBytes of [0, -1, 1000, 8192, 2 ** 25, Number.NaN])
    await assert.rejects(sealImage({ directory: work, workDirectory: work, recipient, pieceBytes }), RangeError, String(pieceBytes))
  assert.deepEqual(await readdir(work), [])
})
