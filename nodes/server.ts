/** An image server: the API, the seeding of every image of the site, and what keeps it in step with its fellows. */
import { randomBytes, X509Certificate } from "node:crypto"
import type { Logger } from "pino"
import { formatAddress } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { groupsOf } from "#core/groups.ts"
import type { ServerStatus } from "#core/wire.ts"
import { attentionOf } from "#trust/attention.ts"
import type { Home } from "#member/home.ts"
import type { RecordChange } from "#member/catalog-keeper.ts"
import { Member } from "#member/member.ts"
import { outdatedOf, renewalDue } from "#member/renewal.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { makeServerRecord } from "#member/server-directory.ts"
import { listenApi } from "./api.ts"
import { changeEvents } from "./audit-entry.ts"
import { lookAtFellows } from "./audit-heads.ts"
import { AuditLog } from "./audit-log.ts"
import { askFellows, exchangeRecords, hintFellows } from "./fellows.ts"
import { authoritiesHeld, authorityOf, type Authority } from "./authority.ts"
import { Issuer, renewOwnCertificate } from "./issuer.ts"
import { formatMetrics, gaugesOf } from "./metrics.ts"
import { publicationFiles, requireLayersHeld } from "./publication.ts"
import { Replicator } from "./replicator.ts"
import { ServerState } from "./state.ts"

/** How often fellows are asked for news that no hint told of. */
const EXCHANGE_INTERVAL_MS = 15_000
/** A timestamp with less than this left is signed anew: half of its life (trust/repository.ts). */
const TIMESTAMP_HALF_LIFE_MS = 36 * 3_600_000

export type ServerParts = { readonly home: Home; readonly clock: Clock; readonly logger: Logger }
export type ServerOptions = {
  /** For all images together; null: as fast as it goes. */
  readonly uploadBytesPerSecondLimit?: number | null
}

export class ImageServer implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack
  readonly #member: Member
  readonly apiAddress: string

  private constructor(stack: AsyncDisposableStack, member: Member, apiAddress: string) {
    this.#stack = stack
    this.#member = member
    this.apiAddress = apiAddress
  }

  get member(): Member {
    return this.#member
  }

  /** Takes the home's lock for as long as it runs. @throws {GridError} HOME_IN_USE, ADDRESS_IN_USE, ROLE_WRONG, HOME_INVALID */
  static async start(parts: ServerParts, options: ServerOptions = {}): Promise<ImageServer> {
    const { home, clock, logger } = parts
    if (home.role === "client" || home.listen.api === null)
      throw new GridError(
        "ROLE_WRONG",
        `${home.directory} is a client's home; 'server run' needs one made by 'site create' or a join as a server or mirror`,
      )
    await using stack = new AsyncDisposableStack()
    const lock = home.lock()
    stack.defer(() => lock.release())
    if (home.role === "server") await renewBeforeStart(home, clock.nowMs())
    const onFault = (fault: string) =>
      logger.error({ fault }, "THE AUDIT LOG DOES NOT HOLD: it was changed or cut; see 'imagegrid audit --verify'")
    const audit = new AuditLog({ home, clock, onFault })
    await audit.start()
    const recordChange: RecordChange = (before, after, from) => audit.append(changeEvents(before, after, from))
    const member = stack.adopt(
      await Member.start(
        { home, clock, log: logger, recordChange },
        { uploadBytesPerSecondLimit: options.uploadBytesPerSecondLimit ?? null },
      ),
      (open) => open.close(),
    )
    const state = stack.adopt(new ServerState(home.path("state.sqlite")), (open) => open.close())
    const authority = (): Authority => {
      const { online } = member.secrets
      if (online === undefined) throw new GridError("KEY_MISSING", `${home.directory} holds no online keys of its site`)
      return authorityOf(online, member.catalogs.catalog)
    }
    const issuer =
      home.role === "mirror"
        ? null
        : new Issuer({
            site: home.site,
            clock,
            random: randomBytes,
            state,
            authority,
            document: () => member.catalogs.catalog.site,
            secrets: () => member.secrets,
            records: () => member.directory.records(),
            askFellows: (claim) => askFellows(member, claim),
          })
    stack.adopt(await Replicator.start(member, state), (open) => open.close())
    const exchange = async () => {
      await exchangeRecords(member)
      return (await member.catalogs.refresh()).failures
    }
    const warn = (what: string) => (error: unknown) => logger.warn({ reason: reasonOf(error) }, what)
    let hintedSeq = 0
    let hintsFollowed: Promise<void> | null = null
    /** One exchange at a time, however many hints come, and another where a newer one came meanwhile. */
    const followHints = async () => {
      for (let seq = 0; seq !== hintedSeq && hintedSeq > member.catalogs.catalog.seq;) {
        seq = hintedSeq
        await exchange()
      }
    }

    const api = await listenApi(
      {
        member,
        issuer,
        logger,
        audit,
        headsSeen: (memberId) => state.auditHeads(memberId),
        status: () => statusOf(member, state, audit),
        metrics: () => metricsOf(member, state, audit),
        apply: async (publication, from) => {
          const change = publicationFiles(publication)
          await requireLayersHeld(member.layers, change)
          // The change may name keys that the command which made it has just put into this home.
          await member.reloadSecrets()
          await member.catalogs.apply(change, from)
        },
        hinted: (catalogSeq) => {
          if (catalogSeq <= member.catalogs.catalog.seq) return
          hintedSeq = catalogSeq
          hintsFollowed ??= followHints()
            .catch(warn("news was not fetched"))
            .finally(() => (hintsFollowed = null))
        },
      },
      home.listen.api,
    )
    stack.defer(() => api.close())

    let announced = { seq: 0, certificateDer: member.certificate.der }
    const announceSelf = async () => {
      announced = { seq: Math.max(announced.seq + 1, clock.nowMs()), certificateDer: member.certificate.der }
      const record = makeServerRecord(
        {
          memberId: home.memberId,
          seq: announced.seq,
          api: formatAddress(api.address),
          swarm: formatAddress({ host: home.listen.swarm.host, port: member.swarm.address.port }),
          dht: formatAddress({ host: home.listen.dht.host, port: member.dht.address.port }),
          certificate: announced.certificateDer.toString("base64"),
        },
        home.identity.signing,
      )
      await member.directory.consider([record])
    }
    await announceSelf()
    // However the certificate was renewed: the record must not outlive the one in it.
    const stopWatching = member.admission.onChange(() => {
      if (!announced.certificateDer.equals(member.certificate.der)) announceSelf().catch(warn("the own record was not renewed"))
    })
    stack.defer(stopWatching)
    if (home.role === "server") await showAlternates(member, clock)
    await member.catalogs.keepFresh(TIMESTAMP_HALF_LIFE_MS).catch(warn("the timestamp was not signed anew"))

    const issueToSelf = async () => {
      const subject = { ...member.certificate, groups: groupsOf(member.catalogs.catalog.site, member.certificate) }
      await showAlternates(member, clock)
      await member.takeMembership(await renewOwnCertificate(authority(), subject, clock.nowMs(), randomBytes), null)
      await announceSelf()
    }
    const renewWhereNeeded = async () => {
      await member.reloadSecrets()
      const reasons = outdatedOf(member)
      if (reasons.length === 0 && !renewalDue(member.certificate, clock.nowMs())) return
      if (reasons.length > 0) logger.info({ reasons }, "the site has changed what this server should have")
      // The certificate is this server's own to issue. Keys that were made at another server come from there, and then it is issued anew.
      await issueToSelf().catch(warn("this server could not renew its own certificate"))
      if (outdatedOf(member).length === 0) return
      await member.renew()
      await issueToSelf()
    }
    let renewalUnderWay: Promise<void> | null = null
    const renew = () => (renewalUnderWay ??= renewWhereNeeded().finally(() => (renewalUnderWay = null)))
    const upkeep = async () => {
      state.forgetExpiredClaims(clock.nowMs())
      const failures = await exchange()
      if (home.role === "server") {
        // A fellow's catalog names online keys that are not here: until they are, the two catalogs can't be brought together.
        if (failures.some((failure) => failure instanceof GridError && failure.code === "KEY_MISSING")) {
          await member.renew()
          await exchange()
        }
        await renew()
      }
      await member.catalogs.keepFresh(TIMESTAMP_HALF_LIFE_MS)
      await audit.head()
      await lookAtFellows({ member, state, audit })
    }
    let upkeepUnderWay: Promise<void> | null = null
    const runUpkeep = () => {
      upkeepUnderWay ??= upkeep()
        .catch(warn("upkeep failed; it will be tried again"))
        .finally(() => (upkeepUnderWay = null))
    }
    runUpkeep()
    const timer = setInterval(runUpkeep, EXCHANGE_INTERVAL_MS)
    stack.defer(() => clearInterval(timer))
    member.catalogs.onChange(() => {
      void hintFellows(member)
      // Not by way of the upkeep: news most often comes while that is under way.
      if (home.role === "server" && outdatedOf(member).length > 0) renew().catch(warn("not renewed yet; it will be tried again"))
    })
    logger.info(
      {
        site: home.site,
        memberId: home.memberId,
        api: formatAddress(api.address),
        swarm: formatAddress(member.swarm.address),
        dht: formatAddress(member.dht.address),
      },
      "server runs",
    )
    return new ImageServer(stack.move(), member, formatAddress(api.address))
  }

  /** Stops answering, then seeding, then saves what is left to save. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

function metricsOf(member: Member, state: ServerState, audit: AuditLog): string {
  return formatMetrics(
    gaugesOf({
      catalog: member.catalogs.catalog,
      certificateExpiresAtMs: member.certificate.notAfterMs,
      layersHeld: state.wholeLayers().length,
      audit,
      nowMs: member.clock.nowMs(),
    }),
  )
}

function statusOf(member: Member, state: ServerState, audit: AuditLog): ServerStatus {
  const { catalog } = member.catalogs
  return {
    memberId: member.home.memberId,
    site: member.home.site,
    catalogSeq: catalog.seq,
    catalogExpiresAtMs: catalog.expiresAtMs,
    layers: state.wholeLayers() as ServerStatus["layers"],
    audit: { entries: audit.entries, fault: audit.fault },
    clockMs: member.clock.nowMs(),
    attention: attentionOf(catalog, member.clock.nowMs()),
  }
}

/** Certificates of the site's older authorities, for members who were away since the newest came. */
async function showAlternates(member: Member, clock: Clock): Promise<void> {
  const { online } = member.secrets
  if (online === undefined) return
  const [, ...older] = authoritiesHeld(online, member.catalogs.catalog)
  const alternates = await Promise.all(
    older.map((authority) => renewOwnCertificate(authority, member.certificate, clock.nowMs(), randomBytes)),
  )
  member.admission.update({ alternates: alternates.map(({ der }) => der) })
}

/** A server's own certificate never keeps it from starting: neither a lapsed one, nor one from a clock that was ahead, nor one of a replaced authority. */
export async function renewBeforeStart(home: Home, nowMs: number): Promise<void> {
  const authority = authorityOf(await home.onlineKeys(), (await storedCatalog(home, nowMs)).catalog)
  const old = await home.certificate()
  const issuedByNewest = new X509Certificate(old.der).checkIssued(new X509Certificate(authority.der))
  if (issuedByNewest && !renewalDue(old, nowMs) && nowMs >= old.notBeforeMs) return
  await home.saveCertificate((await renewOwnCertificate(authority, old, nowMs, randomBytes)).der)
}
