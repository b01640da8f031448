import assert from "node:assert/strict"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { test } from "node:test"
import { newImageIdentity } from "#crypto/age.ts"
import { sealImage } from "#image/seal-image.ts"
import { verifyTree } from "#image/verify-tree.ts"
import { addXattrs, indexOf, makeEveryKind, missingTool, run, temporaryDirectory } from "./support.ts"

test("age, zstd and tar recover an image without imagegrid", { skip: missingTool("age", "zstd") }, async (t) => {
  const work = await temporaryDirectory(t)
  const [source, target] = [join(work, "source"), join(work, "target")]
  await makeEveryKind(source)
  addXattrs(source)
  await mkdir(target)
  const { identity, recipient } = await newImageIdentity()
  const image = await sealImage({ directory: source, workDirectory: work, recipient })
  await writeFile(join(work, "identity"), identity)
  run(
    "bash",
    "-c",
    `set -o pipefail; age -d -i "$1/identity" "$2" | zstd -d | tar -x -p --numeric-owner --xattrs --xattrs-include='*' -C "$1/target"`,
    "recover",
    work,
    image.full.path,
  )
  const { differences } = await verifyTree({ directory: target, index: await indexOf(image.index, identity) })
  assert.deepEqual(differences, [])
  const index = run("sh", "-c", `age -d -i "$1/identity" "$2" | zstd -d | head -1`, "read", work, image.index.path)
  assert.equal(index, '{"format":"imagegrid-index-1"}\n')
})
