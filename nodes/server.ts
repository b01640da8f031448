/** An image server: the API, the seeding of every image of the site, and what keeps it in step with its fellows. */
import { randomBytes } from "node:crypto"
import { statfsSync } from "node:fs"
import type { Logger } from "pino"
import { formatAddress, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import type { GridStatus, Health, ServerStatus } from "#core/wire.ts"
import { attentionOf } from "#trust/attention.ts"
import type { RecordChange } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"
import { Member } from "#member/member.ts"
import { listenApi } from "./api.ts"
import { changeEvents } from "./audit-entry.ts"
import { AuditLog } from "./audit-log.ts"
import { DeploymentLog } from "./deployments.ts"
import { isDraining } from "./draining.ts"
import { askFellows } from "./fellows.ts"
import { living, ready } from "./health.ts"
import { Issuer } from "./issuer.ts"
import { Keeper, type FellowDocuments } from "./keeper.ts"
import { formatMetrics, metricsOf } from "./metrics.ts"
import { issuingAuthority, renewBeforeStart, showAlternates } from "./own-certificate.ts"
import { OwnRecord } from "./own-record.ts"
import { publicationFiles, requireLayersHeld } from "./publication.ts"
import { Replicator } from "./replicator.ts"
import { ServerState } from "./state.ts"
import { IMPORTING, takeBundle } from "./take-bundle.ts"
import { Upkeep } from "./upkeep.ts"
import { VitalSigns } from "./vital-signs.ts"

export type ServerParts = {
  readonly home: Home
  readonly clock: Clock
  readonly logger: Logger
  /** How servers tell one another what they hold. */
  readonly documents?: (member: Member, listening: (grid: Address) => void) => Promise<FellowDocuments & AsyncDisposable>
}
export type ServerOptions = {
  /** For all images together; null: as fast as it goes. */
  readonly uploadBytesPerSecondLimit?: number | null
  /** For all members of the site together, to other sites; null: as fast as it goes. */
  readonly wanBytesPerSecondLimit?: number | null
  /** Most that all layers together may take; null: as much as the disk has. */
  readonly quotaBytes?: number | null
}

export class ImageServer implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack
  readonly #member: Member
  readonly apiAddress: string
  /** Its part in the grid. */
  readonly keeper: Keeper | null

  /** Whether it lives, and whether it can serve. */
  readonly living: () => Promise<Health>
  readonly ready: () => Promise<Health>
  /** In the text format that Prometheus reads. */
  readonly metrics: () => string

  private constructor(
    stack: AsyncDisposableStack,
    member: Member,
    {
      keeper,
      apiAddress,
      living: lives,
      ready: isReady,
      metrics,
    }: Pick<ImageServer, "keeper" | "apiAddress" | "living" | "ready" | "metrics">,
  ) {
    this.#stack = stack
    this.#member = member
    this.keeper = keeper
    this.apiAddress = apiAddress
    this.living = lives
    this.ready = isReady
    this.metrics = metrics
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
    const recordChange: RecordChange = async (before, after, from) => {
      const events = changeEvents(before, after, from)
      await audit.append(events)
      for (const { event, actor, what } of events)
        if (event === "displaced")
          logger.warn(
            { ...what, signedBy: actor.ids },
            "A CHANGE THAT WAS TAKEN HERE IS GONE: another server took one at the same moment; make it again",
          )
    }
    const member = stack.adopt(await Member.start({ home, clock, log: logger, recordChange }, options), (open) => open.close())
    const state = stack.adopt(new ServerState(home.path("state.sqlite")), (open) => open.close())
    const issuer =
      home.role === "mirror"
        ? null
        : new Issuer({
            site: home.site,
            clock,
            random: randomBytes,
            state,
            authority: () => issuingAuthority(member),
            document: () => member.catalogs.catalog.site,
            secrets: () => member.secrets,
            records: () => member.directory.recordsOfAllSites(),
            askFellows: (claim) => askFellows(member, claim),
          })
    const replicator = stack.adopt(await Replicator.start(member, state), (open) => open.close())
    const deployments = stack.adopt(new DeploymentLog(member, state), (log) => log.close())
    const signs = stack.adopt(
      new VitalSigns({ nowMs: () => clock.nowMs(), probePath: home.path("write-probe"), askDatabase: () => state.ask() }),
      (open) => open.close(),
    )
    const lives = async () => living(await signs.read())
    const isReady = async () =>
      ready(await lives(), {
        nowMs: clock.nowMs(),
        catalogExpiresAtMs: member.catalogs.catalog.expiresAtMs,
        certificateExpiresAtMs: member.certificate.notAfterMs,
        auditFault: audit.fault,
        dhtNodeCount: member.dht.nodeCount(),
        otherServerCount: member.directory.recordsOfAllSites().filter(({ memberId }) => memberId !== home.memberId).length,
      })
    let keeper: Keeper | null = null
    const metrics = () => metricsText(member, state, audit, keeper?.status() ?? null)
    let upkeep: Upkeep | null = null
    const api = await listenApi(
      {
        member,
        issuer,
        logger,
        audit,
        headsSeen: (memberId) => state.auditHeads(memberId),
        status: () => statusOf(member, state, audit),
        deployments,
        living: lives,
        ready: isReady,
        metrics,
        apply: async (publication, from) => {
          const change = publicationFiles(publication)
          await requireLayersHeld(member.layers, change)
          // The change may name keys that the command which made it has just put into this home.
          await member.reloadSecrets()
          await member.catalogs.apply(change, from)
        },
        keeper: () => keeper,
        damaged: (infohash) => {
          replicator
            .recheckLayer(infohash)
            .catch((error: unknown) => logger.error({ infohash, reason: reasonOf(error) }, "a damaged layer was not looked at"))
        },
        takeBundle: (directory) => takeBundle(member, member.layers, home.path(IMPORTING, directory)),
        hinted: (site, catalogSeq) => upkeep?.hinted(site, catalogSeq),
      },
      home.listen.api,
    )
    stack.defer(() => api.close())

    const record = stack.use(await OwnRecord.announce(member, api.address))
    if (home.role === "server") await showAlternates(member)
    upkeep = stack.use(await Upkeep.start({ member, state, audit, replicator }))
    const onUnannounced = (error: unknown) => logger.warn({ reason: reasonOf(error) }, "the own record was not renewed")
    if (parts.documents !== undefined) {
      const documents = stack.use(await parts.documents(member, (grid) => void record.announceGrid(grid).catch(onUnannounced)))
      keeper = stack.use(
        await Keeper.start({ member, replicator, documents }, { quotaBytes: options.quotaBytes ?? null, draining: await isDraining(home) }),
      )
    }
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
    return new ImageServer(stack.move(), member, { keeper, apiAddress: formatAddress(api.address), living: lives, ready: isReady, metrics })
  }

  /** Stops answering, then seeding, then saves what is left to save. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

function metricsText(member: Member, state: ServerState, audit: AuditLog, grid: GridStatus | null): string {
  const layers = state.wholeLayers()
  const { user, system } = process.cpuUsage()
  const { bavail, bsize } = statfsSync(member.home.directory)
  return formatMetrics(
    metricsOf({
      catalog: member.catalogs.catalog,
      certificateExpiresAtMs: member.certificate.notAfterMs,
      layersHeld: layers.length,
      heldBytes: layers.reduce((sum, { sealedBytes }) => sum + sealedBytes, 0),
      traffic: member.swarm.traffic,
      peerCount: member.swarm.peerCount,
      dhtNodeCount: member.dht.nodeCount(),
      grid,
      diskFreeBytes: bavail * bsize,
      memoryBytes: process.memoryUsage.rss(),
      cpuSeconds: (user + system) / 1e6,
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
