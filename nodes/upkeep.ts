/** What keeps a running server in step with its fellows and with its site: at intervals, and at once where a fellow tells of news. */
import { GridError, reasonOf } from "#core/errors.ts"
import type { Member } from "#member/member.ts"
import { outdatedOf } from "#member/renewal.ts"
import { lookAtFellows } from "./audit-heads.ts"
import type { AuditLog } from "./audit-log.ts"
import { exchangeRecords, hintFellows } from "./fellows.ts"
import { OwnCertificate } from "./own-certificate.ts"
import type { ServerState } from "./state.ts"

/** How often fellows are asked for news that no hint told of. */
const EXCHANGE_INTERVAL_MS = 15_000
/** A timestamp with less than this left is signed anew: half of its life (trust/lifetimes.ts). */
const TIMESTAMP_HALF_LIFE_MS = 36 * 3_600_000

export type UpkeepParts = { readonly member: Member; readonly state: ServerState; readonly audit: AuditLog }

export class Upkeep implements Disposable {
  readonly #parts: UpkeepParts
  readonly #certificate: OwnCertificate
  readonly #timer: NodeJS.Timeout
  readonly #stopListening: () => void
  #round: Promise<void> | null = null
  #hintedSeq = 0
  #hintsFollowed: Promise<void> | null = null

  private constructor(parts: UpkeepParts) {
    this.#parts = parts
    this.#certificate = new OwnCertificate(parts.member)
    this.#timer = setInterval(() => void this.#runRound(), EXCHANGE_INTERVAL_MS)
    this.#stopListening = parts.member.catalogs.onChange(() => this.#passOnChange())
  }

  /** Signs a timestamp where one is due, and begins the first round. */
  static async start(parts: UpkeepParts): Promise<Upkeep> {
    const upkeep = new Upkeep(parts)
    await parts.member.catalogs.keepFresh(TIMESTAMP_HALF_LIFE_MS).catch(upkeep.#warn("the timestamp was not signed anew"))
    void upkeep.#runRound()
    return upkeep
  }

  /** A fellow has a catalog of this seq. */
  hinted(seq: number): void {
    if (seq > this.#parts.member.catalogs.catalog.seq) void this.#followHint(seq)
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
    this.#stopListening()
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
    const { member, state, audit } = this.#parts
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
    return (await this.#parts.member.catalogs.refresh()).failures
  }

  #passOnChange(): void {
    const { member } = this.#parts
    void hintFellows(member)
    // Not by way of a round: news most often comes while one is under way.
    if (member.home.role === "server" && outdatedOf(member).length > 0)
      this.#certificate.renewWhereNeeded().catch(this.#warn("not renewed yet; it will be tried again"))
  }

  #warn(what: string): (error: unknown) => void {
    return (error) => this.#parts.member.log.warn({ reason: reasonOf(error) }, what)
  }
}
