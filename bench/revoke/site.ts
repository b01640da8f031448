/** A site of two servers and many clients, made without a join: every home has what a join would have given it. */
import { randomBytes } from "node:crypto"
import { join } from "node:path"
import type { Address } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import { CATALOG_BYTES_MAX } from "#core/wire.ts"
import { memberIdentity } from "#crypto/identity.ts"
import { Home } from "#member/home.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { authorityOf } from "../../nodes/authority.ts"
import { DEFAULT_GROUP } from "../../nodes/create-site.ts"
import { issueMemberCertificate } from "../../nodes/issuer.ts"
import { keepLayers, makeLayeredServer } from "../memory/site.ts"

/** One layer that all hold, so that they have had connections with one another. */
const LAYER_BYTES = 4 * 1024 * 1024

export type Listen = { readonly api: Address; readonly swarm: Address; readonly dht: Address }
export type MadeSite = { readonly servers: readonly [Home, Home]; readonly clients: readonly Home[] }

export async function makeSite(directory: string, servers: readonly [Listen, Listen], clients: readonly Listen[]): Promise<MadeSite> {
  const torrents = await makeLayeredServer(join(directory, "server-1"), [LAYER_BYTES], servers[0])
  const first = await Home.open(join(directory, "server-1"))
  const second = await makeMember(first, join(directory, "server-2"), "server", servers[1])
  await keepLayers(second, torrents)
  const homes: Home[] = []
  for (const [index, listen] of clients.entries())
    homes.push(await makeMember(first, join(directory, `client-${index + 1}`), "client", listen))
  return { servers: [first, second], clients: homes }
}

async function makeMember(server: Home, directory: string, role: "server" | "client", listen: Listen): Promise<Home> {
  const nowMs = systemClock.nowMs()
  const { catalog } = await storedCatalog(server, nowMs)
  const secrets = await server.secrets()
  const seed = randomBytes(32)
  const { memberId, sealing, signing } = memberIdentity(seed)
  const { site } = server
  const subject = { kind: "member", site, role, memberId, groups: [DEFAULT_GROUP], sealingKeyHex: sealing.publicKeyHex } as const
  const certificateDer = await issueMemberCertificate({
    authority: authorityOf(await server.onlineKeys(), catalog),
    subject,
    signingKeyHex: signing.publicKeyHex,
    nowMs,
    random: randomBytes,
  })
  const { api } = server.listen
  return Home.create(directory, {
    site,
    role,
    rootDigest: server.rootDigest,
    listen: role === "server" ? listen : { ...listen, api: null },
    firstKnown: { api: api === null ? [] : [api], dht: [server.listen.dht] },
    seed,
    certificateDer,
    secrets: role === "server" ? secrets : { groups: secrets.groups, networkKeys: secrets.networkKeys },
    catalogBytes: await server.catalogBytes(CATALOG_BYTES_MAX),
    createdAtMs: nowMs,
  })
}
