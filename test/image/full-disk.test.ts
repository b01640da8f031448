import assert from "node:assert/strict"
import { createReadStream } from "node:fs"
import { mkdir, readdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { spawnSync } from "node:child_process"
import { GridError } from "#core/errors.ts"
import { newImageIdentity } from "#crypto/age.ts"
import { openLayer } from "#image/open-layer.ts"
import { sealImage } from "#image/seal-image.ts"
import { unpackTree } from "#image/unpack.ts"
import { isRoot, noise, temporaryDirectory } from "./support.ts"

const isFull = (error: unknown) => error instanceof GridError && error.code === "DISK_FULL"

test("a disk that fills up is told as DISK_FULL, when sealing with nothing left, and when unpacking", async (t) => {
  if (!isRoot) {
    t.skip("only root may mount a small file system")
    return
  }
  const work = await temporaryDirectory(t)
  const [source, small] = [join(work, "source"), join(work, "small")]
  await mkdir(source)
  await mkdir(small)
  await writeFile(join(source, "noise"), noise(12 * 1024 * 1024, 11))
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", small]).status !== 0) {
    t.skip("mounting is not permitted here")
    return
  }
  try {
    const { identity, recipient } = await newImageIdentity()
    await assert.rejects(sealImage({ directory: source, workDirectory: small, recipient }), isFull)
    assert.deepEqual(await readdir(small), [])

    const image = await sealImage({ directory: source, workDirectory: work, recipient })
    const content = openLayer(createReadStream(image.full.path), { identity, layer: image.full })
    await assert.rejects(unpackTree(content, { target: small }), isFull)
  } finally {
    spawnSync("umount", [small])
  }
})
