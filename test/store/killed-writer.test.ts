/** The danger: a process that dies between making bytes durable and recording them, or the other way round. */
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { join } from "node:path"
import { test } from "node:test"
import { FilePieceStore } from "#store/file-piece-store.ts"
import { contentOf, pieceOf, seededNumbers, temporaryDirectory, torrentOf } from "./torrents.ts"

const ROUNDS = 10
const writer = new URL("./writer.ts", import.meta.url).pathname
const content = contentOf("killed writer", 300 * 16 * 1024 - 123)
const torrent = torrentOf(content, 16 * 1024)

test("a writer killed at any moment loses nothing that it synced, and claims nothing that it did not write", async (context) => {
  const directory = join(temporaryDirectory(context), "layer")
  const seed = 2_007
  const number = seededNumbers(seed)
  let synced = new Set<number>()
  for (let round = 0; round < ROUNDS; round++) {
    const child = spawn(process.execPath, [writer, directory, String(seed + round)], { stdio: ["ignore", "pipe", "inherit"] })
    const killAfterLines = 1 + number(5)
    const killAfterMs = number(12)
    let lines = 0
    const reader = createInterface({ input: child.stdout })
    reader.on("line", (line) => {
      if (line.startsWith("synced")) synced = new Set(line.split(" ").slice(1).map(Number))
      lines += 1
      // The moment is some milliseconds after some sync: anywhere in a write, a flush or a record.
      if (lines === killAfterLines) setTimeout(() => child.kill("SIGKILL"), killAfterMs)
    })
    await Promise.all([once(child, "exit"), once(reader, "close")])

    const where = `seed ${seed}, round ${round}`
    const store = await FilePieceStore.open(directory, torrent)
    for (let piece = 0; piece < torrent.pieceCount; piece++) {
      if (!store.has(piece)) {
        assert.ok(!synced.has(piece), `${where}: piece ${piece} was synced and is lost`)
        continue
      }
      const expected = pieceOf(content, torrent, piece)
      const into = Buffer.alloc(expected.length)
      await store.read(piece * torrent.pieceBytes, expected.length, into)
      assert.ok(into.equals(expected), `${where}: piece ${piece} is claimed and wrong`)
    }
    await store.close()
  }
  const last = spawn(process.execPath, [writer, directory, String(seed)], { stdio: "ignore" })
  assert.deepEqual(await once(last, "exit"), [0, null])
  assert.ok(readFileSync(join(directory, "layer.age")).equals(content), "in the end the layer is whole")
})
