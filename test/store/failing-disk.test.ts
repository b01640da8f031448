/** The danger: a disk that accepts bytes and loses them later, and a record that is written before its bytes are safe. */
import assert from "node:assert/strict"
import { existsSync } from "node:fs"
import { open, type FileHandle } from "node:fs/promises"
import { join } from "node:path"
import { test, type TestContext } from "node:test"
import { FilePieceStore } from "#store/file-piece-store.ts"
import { contentOf, pieceOf, temporaryDirectory, torrentOf } from "./torrents.ts"

/** So large that it goes through a FileHandle on a tmpfs too. */
const PIECE = 512 * 1024
const content = contentOf("failing disk", 4 * PIECE)
const torrent = torrentOf(content, PIECE)

/** What every FileHandle inherits from: a disk that misbehaves is put in there for the length of a test. */
async function fileHandlePrototype(): Promise<FileHandle> {
  const file = await open("/dev/null")
  try {
    return Object.getPrototypeOf(file) as FileHandle
  } finally {
    await file.close()
  }
}

async function storeIn(context: TestContext): Promise<{ readonly store: FilePieceStore; readonly directory: string }> {
  const directory = join(temporaryDirectory(context), "layer")
  return { store: await FilePieceStore.open(directory, torrent), directory }
}

test("the bytes are made durable before the record that claims them is written", async (context) => {
  const { store, directory } = await storeIn(context)
  const prototype = await fileHandlePrototype()
  const real = Reflect.get<FileHandle, "datasync">(prototype, "datasync")
  let recordedBefore: boolean | null = null
  context.mock.method(prototype, "datasync", function (this: FileHandle) {
    recordedBefore = existsSync(join(directory, "held"))
    return real.call(this)
  })
  await store.write(0, pieceOf(content, torrent, 0))
  await store.sync()
  assert.equal(recordedBefore, false)
  assert.equal(existsSync(join(directory, "held")), true)
  await store.close()
})

test("pieces that the disk would not keep are never recorded, the store takes no more, and the next one fetches them again", async (context) => {
  const { store, directory } = await storeIn(context)
  await store.write(0, pieceOf(content, torrent, 0))
  await store.sync()
  await store.write(1, pieceOf(content, torrent, 1))
  const failing = context.mock.method(await fileHandlePrototype(), "datasync", async () => {
    throw Object.assign(new Error("EIO: i/o error, fdatasync"), { code: "EIO" })
  })
  await assert.rejects(store.sync(), { code: "STATE_DAMAGED", message: /EIO.*check the disk/ })
  failing.mock.restore()
  // The kernel reports a lost write once: a later sync that succeeds proves nothing about this batch.
  await assert.rejects(store.sync(), { code: "STATE_DAMAGED" })
  await assert.rejects(store.write(2, pieceOf(content, torrent, 2)), { code: "STATE_DAMAGED" })
  await assert.rejects(store.close(), { code: "STATE_DAMAGED" })

  const again = await FilePieceStore.open(directory, torrent)
  assert.deepEqual([again.has(0), again.heldCount], [true, 1])
  await again.write(1, pieceOf(content, torrent, 1))
  await again.close()
})

test("a piece that can't be written is refused and missing; others go on", async (context) => {
  const { store } = await storeIn(context)
  await store.write(0, pieceOf(content, torrent, 0))
  const failing = context.mock.method(await fileHandlePrototype(), "write", async () => {
    throw Object.assign(new Error("EIO: i/o error, write"), { code: "EIO" })
  })
  await assert.rejects(store.write(1, pieceOf(content, torrent, 1)), { code: "STATE_DAMAGED" })
  failing.mock.restore()
  assert.deepEqual([store.has(0), store.has(1)], [true, false])
  await store.write(2, pieceOf(content, torrent, 2))
  await store.close()
})

test("a disk that takes and gives a few bytes at a time is served to the end", async (context) => {
  const { store } = await storeIn(context)
  const prototype = await fileHandlePrototype()
  type Transfer = (this: FileHandle, buffer: Uint8Array, offset: number, length: number, position: number) => Promise<unknown>
  const shortened = (transfer: Transfer): Transfer =>
    function (buffer, offset, length, position) {
      return transfer.call(this, buffer, offset, Math.min(length, 1_000), position)
    }
  context.mock.method(prototype, "write", shortened(Reflect.get(prototype, "write") as Transfer))
  context.mock.method(prototype, "read", shortened(Reflect.get(prototype, "read") as Transfer))
  for (let piece = 0; piece < 4; piece++) await store.write(piece, pieceOf(content, torrent, piece))
  const into = Buffer.alloc(content.length)
  await store.read(0, into.length, into)
  assert.ok(into.equals(content))
  await store.close()
})
