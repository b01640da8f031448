/**
 * What a site shows another one to federate with it: who signs for it, from its first root on, and where its servers answer. A file without secrets.
 * What it says is signed, but for the addresses; that the root is the right site's, people compare.
 */
import { Type } from "typebox"
import { openCatalog, type Catalog } from "#trust/catalog.ts"
import { packCatalog, unpackCatalog } from "#trust/catalog-file.ts"
import { siteScope } from "#trust/files.ts"
import { address } from "#core/address.ts"
import { Agreement, Base64, Hex32 } from "#core/documents.ts"
import { GridError } from "#core/errors.ts"
import { sha256, type Sha256 } from "#core/identifiers.ts"
import { parseJson, reader } from "#core/schema.ts"
import { Member } from "#member/member.ts"
import { currentCatalog, type OwnServerParts } from "./own-server.ts"

export const OFFER_BYTES_MAX = 16 * 1024 * 1024
/** Servers that an offer names; a site that accepted it learns of the others from these. */
const SERVERS_MAX = 16

const readShape = reader(
  Type.Object(
    {
      format: Type.Literal("imagegrid-offer-1"),
      rootDigest: Hex32,
      servers: Agreement.properties.servers,
      /** The site's part of its catalog (trust/files.ts `siteScope`), as trust/catalog-file.ts packs it. */
      catalog: Base64(OFFER_BYTES_MAX),
    },
    { additionalProperties: false },
  ),
  "CATALOG_INVALID",
  "offer",
)

export type Offer = {
  readonly rootDigest: Sha256
  /** Without images. */
  readonly catalog: Catalog
  readonly servers: Agreement["servers"]
}

/** @throws {GridError} SERVERS_UNREACHABLE when no server of the site is known yet */
export async function makeOffer(parts: OwnServerParts): Promise<Buffer> {
  const { files } = await currentCatalog(parts)
  const servers = await knownServers(parts)
  if (servers.length === 0)
    throw new GridError(
      "SERVERS_UNREACHABLE",
      "no server's address is known yet; start this one with 'imagegrid server run', then make the offer",
    )
  const catalog = (await packCatalog(siteScope(files))).toString("base64")
  return Buffer.from(`${JSON.stringify({ format: "imagegrid-offer-1", rootDigest: parts.home.rootDigest, servers, catalog })}\n`)
}

/** Of any origin. @throws {GridError} CATALOG_INVALID, CATALOG_EXPIRED */
export async function readOffer(bytes: Uint8Array, nowMs: number): Promise<Offer> {
  const { rootDigest, servers, catalog } = readShape(parseJson(bytes, OFFER_BYTES_MAX, "CATALOG_INVALID", "offer"))
  for (const server of servers) for (const at of [server.api, server.swarm, server.dht]) address(at)
  const anchor = { rootDigest: sha256(rootDigest) }
  const files = await unpackCatalog(Buffer.from(catalog, "base64"))
  return { ...anchor, servers, catalog: openCatalog(files, anchor, nowMs, { scope: "site" }) }
}

/** Newest word first. */
async function knownServers({ home, clock, log }: OwnServerParts): Promise<Agreement["servers"]> {
  const member = await Member.start({ home, clock, log }, { network: "api-only" })
  try {
    const records = [...member.directory.records()].sort((a, b) => b.seq - a.seq)
    return records.slice(0, SERVERS_MAX).map(({ api, swarm, dht }) => ({ api, swarm, dht }))
  } finally {
    await member.close()
  }
}
