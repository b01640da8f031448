/** Writes the pieces of a layer without end, for tests that kill it: DIRECTORY SEED. Says on stdout which pieces a sync has made durable. */
import { FilePieceStore } from "#store/file-piece-store.ts"
import { contentOf, pieceOf, seededNumbers, torrentOf } from "./torrents.ts"

const [directory = "", seed = "0"] = process.argv.slice(2)
const number = seededNumbers(Number(seed))
const content = contentOf("killed writer", 300 * 16 * 1024 - 123)
const torrent = torrentOf(content, 16 * 1024)
const store = await FilePieceStore.open(directory, torrent)
process.stdout.write("open\n")
while (!store.complete) {
  const batch = Array.from({ length: 1 + number(8) }, () => number(torrent.pieceCount))
  await Promise.all(batch.map((piece) => store.write(piece, pieceOf(content, torrent, piece))))
  if (number(4) > 0) continue
  const held = Array.from({ length: torrent.pieceCount }, (_, piece) => piece).filter((piece) => store.has(piece))
  await store.sync()
  process.stdout.write(`synced ${held.join(" ")}\n`)
}
await store.close()
process.stdout.write("whole\n")
