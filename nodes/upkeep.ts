/** What keeps a running server in step with its fellows and with its site: at intervals, and at once where a fellow tells of news. */
import { GridError, reasonOf } from "#core/errors.ts"
import type { Member } from "#member/member.ts"
import { outdatedOf } from "#member/renewal.ts"
import { lookAtFellows } from "./audit-heads.ts"
import type { AuditLog } from "./audit-log.ts"
import { exchangeRecords, hintFellows, hintSite } from "./fellows.ts"
import { OwnCertificate } from "./own-certificate.ts"
import type { Replicator } from "./replicator.ts"
import type { ServerState } from "./state.ts"

/** How often fellows are asked for news that no hint told of. */
const EXCHANGE_INTERVAL_MS = 15_000
/** A timestamp with less than this left is signed anew: half of its life (trust/lifetimes.ts). */
const TIMESTAMP_HALF_LIFE_MS = 36 * 3_600_000

export type UpkeepParts = {
  readonly member: Member
  readonly state: ServerState
  readonly audit: AuditLog
  readonly replicator: Replicator
}

export class Upkeep implements Disposable {
  readonly #parts: UpkeepParts
  readonly #certificate: OwnCertificate
  readonly #timer: NodeJS.Timeout
  readonly #stopListening: readonly (() => void)[]
  /** Sites whose agreements were in force when last looked. */
  #inForce: ReadonlySet<string> = new Set()
  #round: Promise<void> | null = null
  #hintedSeq = 0
  #hintsFollowed: Promise<void> | null = null
  /** Sites that are looked at, and whether to look once more. */
  readonly #looks = new Map<string, { again: boolean }>()

  private constructor(parts: UpkeepParts) {
    this.#parts = parts
    this.#certificate = new OwnCertificate(parts.member)
    this.#timer = setInterval(() => void this.#runRound(), EXCHANGE_INTERVAL_MS)
    const { catalogs, federation } = parts.member
    this.#stopListening = [catalogs.onChange(() => this.#passOnChange()), federation.onChange(() => this.#tellNewlyInForce())]
  }

  /** Signs a timestamp where one is due, and begins the first round. */
  static async start(parts: UpkeepParts): Promise<Upkeep> {
    const upkeep = new Upkeep(parts)
    await parts.member.catalogs.keepFresh(TIMESTAMP_HALF_LIFE_MS).catch(upkeep.#warn("the timestamp was not signed anew"))
    void upkeep.#runRound()
    return upkeep
  }

  /** A server of this site, or of another one, has a catalog of its site of this seq. */
  hinted(site: string, seq: number): void {
    const { home, catalogs, federation } = this.#parts.member
    if (site !== home.site) {
      const kept = federation.catalogs.newest(site)
      if (kept === null || seq > kept.seq || kept.scope === "site") void this.#lookAtSite(site)
    } else if (seq > catalogs.catalog.seq) void this.#followHint(seq)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    for (const stop of this.#stopListening) stop()
  }

  /** Calls while hints are followed wait for that. */
  #followHint(seq: number): Promise<void> {
    this.#hintedSeq = seq
    this.#hintsFollowed ??= this.#followHints()
      .catch(this.#warn("news was not fetched"))
      .finally(() => (this.#hintsFollowed = null))
    return this.#hintsFollowed
  }

  /** Calls while one is under way wait for that. */
  #runRound(): Promise<void> {
    this.#round ??= this.#goRound()
      .catch(this.#warn("upkeep failed; it will be tried again"))
      .finally(() => (this.#round = null))
    return this.#round
  }

  async #goRound(): Promise<void> {
    const { member, state, audit, replicator } = this.#parts
    state.forgetExpiredClaims(member.clock.nowMs())
    const failures = await this.#exchange()
    if (member.home.role === "server") {
      // A fellow's catalog names online keys that are not here: until they are, the two catalogs can't be brought together.
      if (failures.some((failure) => failure instanceof GridError && failure.code === "KEY_MISSING")) {
        await member.renew()
        await this.#exchange()
      }
      await this.#certificate.renewWhereNeeded()
    }
    await member.catalogs.keepFresh(TIMESTAMP_HALF_LIFE_MS)
    await replicator.collect()
    await audit.head()
    await lookAtFellows({ member, state, audit })
  }

  /** One exchange at a time, however many hints come, and another where a newer one came meanwhile. */
  async #followHints(): Promise<void> {
    const { catalogs } = this.#parts.member
    for (let seq = 0; seq !== this.#hintedSeq && this.#hintedSeq > catalogs.catalog.seq;) {
      seq = this.#hintedSeq
      await this.#exchange()
    }
  }

  async #exchange(): Promise<readonly unknown[]> {
    await exchangeRecords(this.#parts.member)
    const { failures } = await this.#parts.member.catalogs.refresh()
    await this.#parts.member.federation.refresh()
    return failures
  }

  /** One look at a time at each site, and one more where a hint came meanwhile. */
  async #lookAtSite(site: string): Promise<void> {
    const looks = this.#looks.get(site)
    if (looks !== undefined) {
      looks.again = true
      return
    }
    const own = { again: true }
    this.#looks.set(site, own)
    while (own.again) {
      own.again = false
      await this.#parts.member.federation.refreshSite(site)
    }
    this.#looks.delete(site)
  }

  #passOnChange(): void {
    const { member } = this.#parts
    void hintFellows(member)
    for (const { agreement, inForce } of member.federation.catalogs.sites()) if (!inForce) void this.#lookAtSite(agreement.site)
    // Not by way of a round: news most often comes while one is under way.
    if (member.home.role === "server" && outdatedOf(member).length > 0)
      this.#certificate.renewWhereNeeded().catch(this.#warn("not renewed yet; it will be tried again"))
  }

  /** A site that this one counts from now on gets from now on what it did not get before: it is told to look. */
  #tellNewlyInForce(): void {
    const { member } = this.#parts
    const inForce = member.federation.catalogs.sites().filter((site) => site.inForce)
    for (const { agreement } of inForce) if (!this.#inForce.has(agreement.site)) void hintSite(member, agreement)
    this.#inForce = new Set(inForce.map(({ agreement }) => agreement.site))
  }

  #warn(what: string): (error: unknown) => void {
    return (error) => this.#parts.member.log.warn({ reason: reasonOf(error) }, what)
  }
}
