/** Attacks on the swarm's port by those who hold no certificate: nothing that they send ever gets past TLS. */
import { once } from "node:events"
import { connect, createServer, type Socket } from "node:net"
import { connect as connectTls, type ConnectionOptions } from "node:tls"
import type { Address } from "#core/address.ts"
import { Counts } from "./counts.ts"
import { mutated, type Dice } from "./dice.ts"
import { attackerHost, HostileSocket, keepBusy } from "./hostile-socket.ts"

const BUSY = 24
/** More than may be half open at a time. */
const SILENT = 300
const DRIBBLING = 60
const HANDSHAKE_OF_BEP_3 = Buffer.concat([Buffer.from("\u0013BitTorrent protocol", "latin1"), Buffer.alloc(48, 1)])

export async function fuzzAsStranger(at: Address, dice: Dice, stop: AbortSignal): Promise<Counts> {
  const counts = new Counts()
  const hellos = await Promise.all([captureHello({}), captureHello({ ALPNProtocols: ["h2", "x"], servername: "server.test" })])
  const open = () => new HostileSocket(connect({ ...at, localAddress: attackerHost(dice) }), counts, stop)

  const speak = async () => {
    using stranger = open()
    const own = dice.fork()
    const { kind, bytes } = firstWords(hellos, own)
    if (own.chance(0.2)) for (const chunk of chunks(bytes, own)) await stranger.write(`${kind} in pieces`, chunk)
    else await stranger.write(kind, bytes)
    await stranger.pause(own.chance(0.1) ? 2_000 : 20)
    if (own.chance(0.3)) await stranger.write("bytes after that", own.bytes(own.below(20_000)))
    if (own.chance(0.3)) stranger.socket.resetAndDestroy()
  }
  const handshakeWithout = async () => {
    // The handshake of TLS itself, in good form, without a certificate; then BitTorrent as though it had been accepted.
    const options: ConnectionOptions & { readonly localAddress: string } = {
      ...at,
      localAddress: attackerHost(dice),
      rejectUnauthorized: false,
    }
    using stranger = new HostileSocket(connectTls(options), counts, stop)
    await stranger.write("TLS without certificate", HANDSHAKE_OF_BEP_3)
    await stranger.pause(500)
  }
  const stayed = async (kind: string, everyMs: number) => {
    using stranger = open()
    const hello = dice.pick(hellos)
    counts.add(kind, 0)
    // Until it is cut: 10 s for a handshake, or at once when others take its place.
    for (let byte = 0; byte < hello.length && !stranger.closed; byte += 1) {
      if (everyMs > 0) await stranger.write("bytes of a slow hello", hello.subarray(byte, byte + 1))
      await stranger.pause(everyMs > 0 ? everyMs : 1_000)
    }
    // No faster again than a few a second each.
    await pauseUnlessStopped(stop, 250)
  }
  await Promise.all([
    keepBusy(BUSY, stop, () => speak()),
    keepBusy(4, stop, () => handshakeWithout()),
    keepBusy(SILENT, stop, () => stayed("silent sockets", 0)),
    keepBusy(DRIBBLING, stop, () => stayed("dribblers", 100)),
  ])
  return counts
}

async function pauseUnlessStopped(stop: AbortSignal, ms: number): Promise<void> {
  const ended = Promise.withResolvers<null>()
  const end = () => ended.resolve(null)
  stop.addEventListener("abort", end)
  const timer = setTimeout(end, ms)
  if (!stop.aborted) await ended.promise
  clearTimeout(timer)
  stop.removeEventListener("abort", end)
}

function firstWords(hellos: readonly Buffer[], dice: Dice): { readonly kind: string; readonly bytes: Buffer } {
  const roll = dice.below(10)
  if (roll < 2) return { kind: "random bytes", bytes: dice.bytes(1 + dice.below(dice.chance(0.1) ? 200_000 : 2_000)) }
  if (roll < 4) return { kind: "records of TLS", bytes: Buffer.concat(Array.from({ length: 1 + dice.below(4) }, () => record(dice))) }
  if (roll < 5) return { kind: "plain BitTorrent", bytes: Buffer.concat([HANDSHAKE_OF_BEP_3, dice.bytes(dice.below(500))]) }
  const hello = dice.pick(hellos)
  if (roll < 6) return { kind: "hellos cut short", bytes: hello.subarray(0, dice.below(hello.length)) }
  return { kind: "mutated hellos", bytes: mutated(hello, hellos, dice) }
}

/** Something with the form of a record (RFC 8446, section 5.1), its length true or not. */
function record(dice: Dice): Buffer {
  const body = dice.bytes(dice.below(2_000))
  const head = Buffer.from([dice.pick([20, 21, 22, 22, 23, 24, dice.below(256)]), 3, dice.below(5), 0, 0])
  head.writeUInt16BE(dice.chance(0.6) ? body.length : dice.pick([0, 1, 16_384, 16_385, 18_432, 65_535]), 3)
  if (head[0] === 22 && body.length > 4) body.set([dice.pick([0, 1, 2, 11, 20, 24]), 0, dice.below(8), dice.below(256)])
  return Buffer.concat([head, body])
}

function chunks(bytes: Buffer, dice: Dice): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; at += parts.at(-1)?.length ?? 1) parts.push(bytes.subarray(at, at + 1 + dice.below(400)))
  return parts
}

/** The first flight of a real client. */
async function captureHello(options: { readonly ALPNProtocols?: string[]; readonly servername?: string }): Promise<Buffer> {
  const server = createServer()
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const bound = server.address()
  if (bound === null || typeof bound !== "object") throw new Error("no port to listen on")
  const client = connectTls({ host: "127.0.0.1", port: bound.port, minVersion: "TLSv1.3", ...options })
  client.on("error", () => {})
  const [socket] = (await once(server, "connection")) as [Socket]
  const [hello] = (await once(socket, "data")) as [Buffer]
  client.destroy()
  socket.destroy()
  server.close()
  return hello
}
