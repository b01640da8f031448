/**
 * The stages of a deploy, one after the other in one process: what each takes when it has the machine to itself. Started by deploy.ts with a client's home,
 * the image, and a directory for what they make; prints one JSON object of seconds.
 */
import { createReadStream } from "node:fs"
import { mkdir, open } from "node:fs/promises"
import { join } from "node:path"
import { pipeline } from "node:stream/promises"
import { createZstdDecompress } from "node:zlib"
import { fetchIndex, identitiesOf, openPatiently } from "#client/layer-download.ts"
import { systemClock } from "#core/clock.ts"
import { layerOf } from "#core/documents.ts"
import { imageQuery } from "#core/identifiers.ts"
import { AgeOpener } from "#crypto/age.ts"
import { unpackTree } from "#image/unpack.ts"
import { verifyTree } from "#image/verify-tree.ts"
import { Home } from "#member/home.ts"
import { findImage } from "#member/image-sources.ts"
import { Member } from "#member/member.ts"
import { LayerStore } from "#store/layer-store.ts"

const CHUNK_BYTES = 1024 * 1024
const [homeDirectory, query, work] = process.argv.slice(2) as [string, string, string]
const signal = new AbortController().signal
const seconds: Record<string, number> = {}

const home = await Home.open(homeDirectory)
const member = await Member.start({ home, clock: systemClock, log: { info: () => {}, warn: () => {} } })
await member.catalogs.refresh(signal)
const image = findImage(member.images, imageQuery(query))
const layer = layerOf(image.manifest, "full")
const identityOf = identitiesOf(image, member)
const parts = { member, signal, emit: () => {} }
const index = await fetchIndex(parts, image.manifest, identityOf(layerOf(image.manifest, "index")))
const store = await LayerStore.open(join(work, "stage"))
let sealedPath = ""
await timed("download", async () => {
  const session = await openPatiently(parts, { manifest: image.manifest, layer }, store)
  await session.whenComplete(signal)
  sealedPath = (await store.pieces(session.torrent)).path
  await session.close()
})
await store.close()
await member.close()

const [compressedPath, contentPath, target] = [join(work, "content.zst"), join(work, "content.tar"), join(work, "root")]
await timed("open", () => openSealed(async () => {}))
await using compressed = await open(compressedPath, "w")
await openSealed(async (bytes) => void (await compressed.write(bytes)))
await timed("decompress", () => decompress(() => {}))
await using content = await open(contentPath, "w")
await decompress((bytes) => content.write(bytes))
await mkdir(target)
await timed("unpack", () => unpackTree(chunksOf(contentPath), { target }))
await timed("verify", async () => {
  const { differenceCount } = await verifyTree({ directory: target, index })
  if (differenceCount > 0) throw new Error(`${differenceCount} differences`)
})
console.log(JSON.stringify({ seconds, sealedBytes: layer.sealedBytes, contentBytes: layer.contentBytes, entries: index.entryCount }))

async function timed(stage: string, run: () => Promise<void>): Promise<void> {
  const startedMs = performance.now()
  await run()
  seconds[stage] = (performance.now() - startedMs) / 1000
}

function chunksOf(path: string): AsyncIterable<Buffer> {
  return createReadStream(path, { highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>
}

async function openSealed(take: (bytes: Buffer) => Promise<void>): Promise<void> {
  const opener = new AgeOpener(identityOf(layer))
  for await (const bytes of chunksOf(sealedPath)) for (const opened of await opener.update(bytes)) await take(opened)
  for (const opened of opener.final()) await take(opened)
}

async function decompress(take: (bytes: Buffer) => unknown): Promise<void> {
  await pipeline(
    createReadStream(compressedPath, { highWaterMark: CHUNK_BYTES }),
    createZstdDecompress({ chunkSize: CHUNK_BYTES }),
    async (chunks) => {
      for await (const bytes of chunks) await take(bytes as Buffer)
    },
  )
}
