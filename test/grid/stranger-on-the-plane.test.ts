import assert from "node:assert/strict"
import { randomBytes } from "node:crypto"
import { test } from "node:test"
import { generateKeyPairFromSeed } from "@libp2p/crypto/keys"
import type { ConnectionEncrypter, Libp2p } from "@libp2p/interface"
import { noise, type NoiseComponents } from "@libp2p/noise"
import { peerIdFromPrivateKey } from "@libp2p/peer-id"
import { tcp } from "@libp2p/tcp"
import { lpStream } from "@libp2p/utils"
import { yamux } from "@libp2p/yamux"
import { multiaddr, type Multiaddr } from "@multiformats/multiaddr"
import { createLibp2p } from "libp2p"
import { planeKeyOf, planeProof } from "#crypto/plane-key.ts"
import { seedOf, type MemberIdentity } from "#crypto/identity.ts"
import { KEYED_NOISE, keyedNoise } from "#grid/libp2p/keyed-noise.ts"
import { Plane } from "#grid/plane.ts"
import { anywhere, cineca, identityOf, networkKey, planeParts, planeServer, RosterBook, silentPlaneLog, until } from "./planes.ts"
import { stateOf } from "./signed.ts"

const [server, stranger] = [identityOf(0), identityOf(9)]
const key = planeKeyOf(networkKey(cineca))

type Encrypter = (components: NoiseComponents) => ConnectionEncrypter

const keyOf = ({ signing }: MemberIdentity) => generateKeyPairFromSeed("Ed25519", seedOf(signing))

/** A libp2p program of the stranger's own making. */
async function strangersNode(encrypter: Encrypter): Promise<Libp2p & AsyncDisposable> {
  const node = await createLibp2p({
    privateKey: await keyOf(stranger),
    transports: [tcp()],
    connectionEncrypters: [encrypter],
    streamMuxers: [yamux()],
  })
  return Object.assign(node, { [Symbol.asyncDispose]: async () => node.stop() })
}

/** A plane, where and under which peer id strangers find it, and whom it turns away. */
async function victim(stack: AsyncDisposableStack) {
  const turnedAway: object[] = []
  const { promise, resolve } = Promise.withResolvers<null>()
  const debug = (fields: object, event: string) => {
    if (event !== "connection refused") return
    turnedAway.push(fields)
    resolve(null)
  }
  const book = new RosterBook()
  const plane = stack.use(await Plane.open(planeParts(server, book, { log: { ...silentPlaneLog, debug } }), { listen: anywhere }))
  plane.publish("state", stateOf(1))
  const peerId = peerIdFromPrivateKey(await keyOf(server))
  const at = multiaddr(`/ip4/127.0.0.1/tcp/${plane.address.port}/p2p/${peerId.toString()}`)
  return { plane, book, at, turnedAway, refused: promise }
}

/** Shows a proof of the key in form, by other rules for what comes before and after it than are right. */
function otherwise(rules: { readonly proofOver: (nonces: Buffer) => Buffer; readonly prologueBytes: Buffer }): Encrypter {
  return (components) => ({
    protocol: KEYED_NOISE,
    async secureOutbound(connection, options) {
      const frames = lpStream(connection)
      const nonce = randomBytes(32)
      const nonces = Buffer.concat([(await frames.read(options)).subarray(), nonce])
      await frames.write(Buffer.concat([nonce, rules.proofOver(nonces)]), options)
      await frames.read(options)
      return noise({ prologueBytes: rules.prologueBytes })(components).secureOutbound(frames.unwrap(), options)
    },
    secureInbound: () => assert.fail("nobody dials the stranger"),
  })
}

for (const [who, encrypter] of [
  ["with ordinary libp2p", noise()],
  ["with another network key", keyedNoise({ own: () => [], of: () => [planeKeyOf(networkKey("elsewhere"))] })],
  ["without any network key", keyedNoise({ own: () => [], of: () => [] })],
  [
    "with a proof that was overheard",
    otherwise({ proofOver: () => planeProof(key, "dialling", Buffer.alloc(64, "an earlier handshake")), prologueBytes: Buffer.alloc(0) }),
  ],
  [
    "with a proof that is right, and without the key for what follows,",
    otherwise({ proofOver: (nonces) => planeProof(key, "dialling", nonces), prologueBytes: Buffer.alloc(32) }),
  ],
] as const)
  test(`a stranger ${who} does not complete the handshake`, async () => {
    await using stack = new AsyncDisposableStack()
    const { at, plane, turnedAway, book } = await victim(stack)
    // As if it were in the roster: the handshake alone keeps it out.
    book.put(planeServer(stranger, []))
    const node = stack.use(await strangersNode(encrypter))
    await assert.rejects(node.dial(at))
    assert.deepEqual(node.getConnections(), [])
    assert.ok(plane.peers().every(({ isConnected, lastHeardMs }) => !isConnected && lastHeardMs === null))
    assert.deepEqual(turnedAway, [])
  })

async function everyProtocolFails(node: Libp2p, at: Multiaddr): Promise<void> {
  for (const protocol of ["/imagegrid/documents/1", "/meshsub/1.2.0", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"])
    await assert.rejects(async () => (await node.dial(at)).newStream(protocol), protocol)
}

const rightKey = keyedNoise({ own: () => [], of: () => [key] })

test("a stranger with the network key and a key of its own, which the roster has not, gets nothing", async () => {
  await using stack = new AsyncDisposableStack()
  const { at, plane, refused } = await victim(stack)
  const node = stack.use(await strangersNode(rightKey))
  await everyProtocolFails(node, at)
  await refused
  assert.deepEqual(plane.peers(), [])
})

test("the same one is let in once the roster has it, cut off when it has it no more, and gets nothing again", async () => {
  await using stack = new AsyncDisposableStack()
  const { at, plane, book } = await victim(stack)
  book.put(planeServer(stranger, []))
  const node = stack.use(await strangersNode(rightKey))
  const connection = await node.dial(at)
  await connection.newStream("/imagegrid/documents/1")
  await until([plane], () => plane.peers().some(({ isConnected }) => isConnected))
  const cut = new Promise((resolve) => connection.addEventListener("close", resolve))
  book.remove(stranger.memberId)
  await cut
  await everyProtocolFails(node, at)
})

test("a dial that meets another server than the one that was meant comes to nothing", async () => {
  await using stack = new AsyncDisposableStack()
  const { plane } = await victim(stack)
  const { promise, resolve } = Promise.withResolvers<null>()
  const debug = (_: object, event: string) => event === "dial failed" && resolve(null)
  const book = new RosterBook()
  // The address of server 0 under the name of server 1.
  book.put(planeServer(identityOf(1), [plane.address]))
  const dialler = stack.use(await Plane.open(planeParts(identityOf(2), book, { log: { ...silentPlaneLog, debug } }), { listen: anywhere }))
  await promise
  assert.ok(dialler.peers().every(({ isConnected }) => !isConnected))
})
