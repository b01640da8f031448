/** The file that every run gives out: random bytes, so that nothing on the way can make them fewer. */
import { createHash, randomFillSync } from "node:crypto"
import { createReadStream } from "node:fs"
import { open, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { makeTorrent, pieceBytesFor } from "#core/torrent.ts"
import type { Scenario } from "../scenario.ts"
import type { LabContent } from "./transports/transport.ts"

export async function makeContent(scenario: Pick<Scenario, "contentBytes" | "pieceBytes">, directory: string): Promise<LabContent> {
  const { contentBytes } = scenario
  const pieceBytes = scenario.pieceBytes ?? pieceBytesFor(contentBytes)
  const contentPath = join(directory, "content")
  const infoPath = join(directory, "info")
  const piece = Buffer.allocUnsafe(pieceBytes)
  const digests: Buffer[] = []
  const whole = createHash("sha256")
  await using file = await open(contentPath, "wx", 0o644)
  for (let at = 0; at < contentBytes; at += pieceBytes) {
    const part = randomFillSync(piece).subarray(0, Math.min(pieceBytes, contentBytes - at))
    digests.push(createHash("sha1").update(part).digest())
    whole.update(part)
    await file.write(part)
  }
  const torrent = makeTorrent({ name: "content", contentBytes, pieceBytes, pieceDigests: Buffer.concat(digests) })
  await writeFile(infoPath, torrent.infoBytes)
  return { torrent, contentPath, infoPath, sha256: whole.digest("hex") }
}

/** SHA-256 of a file, hex. @throws the signal's reason */
export async function sha256Of(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256")
  for await (const part of createReadStream(path, { highWaterMark: 1 << 20, signal })) hash.update(part as Buffer)
  return hash.digest("hex")
}
