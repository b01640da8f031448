/** A server's own certificate. It has the authority's key and issues it to itself, before it starts and while it runs. */
import { randomBytes, X509Certificate } from "node:crypto"
import { GridError, reasonOf } from "#core/errors.ts"
import { groupsOf } from "#core/groups.ts"
import type { Home } from "#member/home.ts"
import type { Member } from "#member/member.ts"
import { outdatedOf, renewalDue } from "#member/renewal.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { authoritiesHeld, authorityOf, type Authority } from "./authority.ts"
import { renewOwnCertificate } from "./issuer.ts"

/** It never keeps a server from starting: neither a lapsed one, nor one from a clock that was ahead, nor one of a replaced authority. */
export async function renewBeforeStart(home: Home, nowMs: number): Promise<void> {
  const authority = authorityOf(await home.onlineKeys(), (await storedCatalog(home, nowMs)).catalog)
  const old = await home.certificate()
  const issuedByNewest = new X509Certificate(old.der).checkIssued(new X509Certificate(authority.der))
  if (issuedByNewest && !renewalDue(old, nowMs) && nowMs >= old.notBeforeMs) return
  await home.saveCertificate((await renewOwnCertificate(authority, old, nowMs, randomBytes)).der)
}

/** The authority with which a running server issues certificates. @throws {GridError} KEY_MISSING */
export function issuingAuthority({ home, secrets: { online }, catalogs }: Member): Authority {
  if (online === undefined) throw new GridError("KEY_MISSING", `${home.directory} holds no online keys of its site`)
  return authorityOf(online, catalogs.catalog)
}

/** Shows certificates of the site's older authorities too, for members who were away since the newest came. */
export async function showAlternates({ secrets: { online }, catalogs, certificate, clock, admission }: Member): Promise<void> {
  if (online === undefined) return
  const [, ...older] = authoritiesHeld(online, catalogs.catalog)
  const alternates = await Promise.all(older.map((authority) => renewOwnCertificate(authority, certificate, clock.nowMs(), randomBytes)))
  admission.update({ alternates: alternates.map(({ der }) => der) })
}

export class OwnCertificate {
  readonly #member: Member
  #underWay: Promise<void> | null = null

  constructor(member: Member) {
    this.#member = member
  }

  /** Renews certificate and keys where time or the site asks for it; calls while that is under way wait for it. @throws {GridError} as Member.renew */
  renewWhereNeeded(): Promise<void> {
    this.#underWay ??= this.#renewWhereNeeded().finally(() => (this.#underWay = null))
    return this.#underWay
  }

  async #renewWhereNeeded(): Promise<void> {
    const member = this.#member
    await member.reloadSecrets()
    const reasons = outdatedOf(member)
    if (reasons.length === 0 && !renewalDue(member.certificate, member.clock.nowMs())) return
    if (reasons.length > 0) member.log.info({ reasons }, "the site has changed what this server should have")
    // The certificate is this server's own to issue. Keys that were made at another server come from there, and then it is issued anew.
    await this.#issue().catch((error: unknown) =>
      member.log.warn({ reason: reasonOf(error) }, "this server could not renew its own certificate"),
    )
    if (outdatedOf(member).length === 0) return
    await member.renew()
    await this.#issue()
  }

  async #issue(): Promise<void> {
    const member = this.#member
    const subject = { ...member.certificate, groups: groupsOf(member.catalogs.catalog.site, member.certificate) }
    await showAlternates(member)
    const renewed = await renewOwnCertificate(issuingAuthority(member), subject, member.clock.nowMs(), randomBytes)
    await member.takeMembership(renewed, null)
  }
}
