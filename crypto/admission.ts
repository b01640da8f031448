/**
 * Who may talk to this member. A connection is admitted only when its certificate was signed by an authority of the site that it names, is
 * current, is of a role that is allowed here and is not revoked: in the handshake, and again whenever `onChange` fires. Sites are the own one
 * and, where `all sites` are asked for by name, those that it federates with.
 *
 * While one authority replaces another, who was away knows the old one alone. So the dialling end names the newest authority that it knows
 * (as the server name of RFC 6066), and a server that has a certificate of that one shows it instead of its newest.
 */
import { constants, hash, X509Certificate } from "node:crypto"
import { createSecureContext, type ConnectionOptions, type SecureContext, type TLSSocket, type TlsOptions } from "node:tls"
import type { Clock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import type { SiteName } from "#core/identifiers.ts"
import { keepNewest } from "#core/newest.ts"
import { parseCertificate, readCertificate, type Certificate, type MemberRole } from "./certificate.ts"
import { memberIdOf, rawPublicKeyHex, type SigningKey } from "./identity.ts"

/** What a certificate may be used as. A holder of an invite may join, and nothing else. */
export type AdmittedAs = MemberRole | "invite"

/** Who may take part in a swarm. */
export const ALL_MEMBERS: readonly AdmittedAs[] = ["server", "mirror", "client"]
/** Who answers the API. */
export const ALL_SERVERS: readonly AdmittedAs[] = ["server", "mirror"]

/** Members of the own site alone, or those of the sites that it federates with too. */
export type AdmittedFrom = "own site" | "all sites"

/** Whom another site certifies, and whom it has revoked. */
export type FederatedSite = {
  readonly site: string
  /** DER of its authorities. */
  readonly authorities: readonly Uint8Array[]
  readonly revoked: Iterable<string>
}

export type AdmissionParts = {
  readonly clock: Clock
  readonly site: SiteName
  /** DER of the authorities whose members are admitted. */
  readonly authorities: readonly Uint8Array[]
  /** Ids of members and invites that are refused whatever their certificate says. */
  readonly revoked: Iterable<string>
  /** This member's own certificate, of `signing`. */
  readonly certificateDer: Uint8Array
  readonly signing: SigningKey
}
export type AdmissionChange = Partial<Pick<AdmissionParts, "authorities" | "revoked" | "certificateDer">> & {
  /** The other sites whose members are admitted where `all sites` are; all of them anew. */
  readonly federated?: readonly FederatedSite[]
  /** DER of own certificates of other authorities of the site. */
  readonly alternates?: readonly Uint8Array[]
}

type SwarmView = Pick<Admission, "site" | "role" | "tlsServerOptions" | "onChange"> & {
  tlsClientOptions(): ConnectionOptions
  admitSocket(socket: Pick<TLSSocket, "getPeerX509Certificate">, allowed: readonly AdmittedAs[]): Certificate
}

/** AES-128-GCM first: the fastest with hardware AES (FACTS.md). */
const CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
const HANDSHAKE_TIMEOUT_MS = 10_000
/** Certificates whose signature need not be checked again; a peer's is looked at three times before its first message. */
const VERIFIED_MAX = 256

type Verified = { readonly certificate: Certificate; readonly issuer: X509Certificate }
type Site = { readonly authorities: readonly X509Certificate[]; readonly revoked: ReadonlySet<string> }

/** The current answer to "who is admitted"; the owner replaces it as the site document and the own certificate change. */
export class Admission {
  readonly #clock: Clock
  readonly #site: SiteName
  readonly #signing: SigningKey
  readonly #listeners = new Set<() => void>()
  #authorities: readonly X509Certificate[]
  #revoked: ReadonlySet<string>
  /** By name; the own one is not among them. */
  #federated: ReadonlyMap<string, Site> = new Map()
  #certificate: Certificate
  #alternates: readonly Certificate[] = []
  /** Made on first use, by the name of the authority that certified the alternate. */
  readonly #alternateContexts = new Map<string, SecureContext>()
  /** One OpenSSL context for all dialled connections: making one costs more than a signature. */
  #dialContext: SecureContext | null = null
  /** By SHA-256 of their DER, oldest first: form and signature alone. Time, revocation and role are looked at each time. */
  readonly #verified = new Map<string, Verified>()

  constructor({ clock, site, authorities, revoked, certificateDer, signing }: AdmissionParts) {
    this.#clock = clock
    this.#site = site
    this.#signing = signing
    this.#authorities = authorities.map(readAuthority)
    this.#revoked = new Set(revoked)
    this.#certificate = this.#ownCertificate(certificateDer)
  }

  get site(): SiteName {
    return this.#site
  }

  get role(): MemberRole {
    return this.#certificate.role
  }

  /** This member's own certificate. */
  get certificate(): Certificate {
    return this.#certificate
  }

  /** Whether this site, which is its own, refuses the member or invite, whatever its certificate says. No site revokes another's. */
  isRevoked(id: string, site: string = this.#site): boolean {
    return this.#siteOf(site)?.revoked.has(id) ?? false
  }

  /** The same for the swarm, where members of all sites meet; which torrent is for whom is decided there. */
  forSwarm(): SwarmView {
    return {
      site: this.#site,
      role: this.role,
      tlsServerOptions: () => this.tlsServerOptions(),
      tlsClientOptions: () => this.tlsClientOptions(ALL_MEMBERS, "all sites"),
      admitSocket: (socket, allowed) => this.admitSocket(socket, allowed, "all sites"),
      onChange: (listener) => this.onChange(listener),
    }
  }

  /**
   * Takes a newer site document's or an own renewed certificate's word, then tells the listeners.
   * @throws {GridError} CERTIFICATE_INVALID; nothing has changed then
   */
  update(change: AdmissionChange): void {
    const authorities = change.authorities?.map(readAuthority) ?? this.#authorities
    const certificate = change.certificateDer === undefined ? this.#certificate : this.#ownCertificate(change.certificateDer)
    const revoked = change.revoked === undefined ? this.#revoked : new Set(change.revoked)
    const alternates = change.alternates?.map((der) => this.#ownCertificate(der)) ?? this.#alternates
    const federated = change.federated === undefined ? this.#federated : this.#readFederated(change.federated)
    const same =
      sameAuthorities(authorities, this.#authorities) &&
      certificate.der.equals(this.#certificate.der) &&
      sameCertificates(alternates, this.#alternates) &&
      sameSets(revoked, this.#revoked) &&
      sameSites(federated, this.#federated)
    if (same) return
    this.#federated = federated
    this.#authorities = authorities
    this.#certificate = certificate
    this.#revoked = revoked
    this.#alternates = alternates
    this.#alternateContexts.clear()
    this.#dialContext = null
    this.#verified.clear()
    for (const listener of this.#listeners) listener()
  }

  /**
   * Calls `listener` after every change: time to hand `tlsServerOptions()` to `server.setSecureContext()` and to ask
   * `admitSocket` again for every live connection. Returns how to stop.
   */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** For tls.createServer and server.setSecureContext. The owner still asks `admitSocket` which role came. */
  tlsServerOptions(): TlsOptions {
    return {
      ...this.#contextOptions(this.#certificate),
      requestCert: true,
      rejectUnauthorized: true,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      SNICallback: (name, done) => {
        try {
          done(null, this.#alternateFor(name))
        } catch (error) {
          done(error instanceof Error ? error : new Error(String(error)))
        }
      },
    }
  }

  /** For tls.connect. The handshake fails unless the answering end is admitted as one of `allowed`; names and addresses prove nothing. */
  tlsClientOptions(allowed: readonly AdmittedAs[] = ALL_MEMBERS, from: AdmittedFrom = "own site"): ConnectionOptions {
    this.#dialContext ??= createSecureContext(this.#contextOptions(this.#certificate))
    const [newest] = this.#authorities
    return {
      ...(newest !== undefined && { servername: authorityName(newest) }),
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      secureContext: this.#dialContext,
      rejectUnauthorized: true,
      checkServerIdentity: (_host, peer) => {
        try {
          this.admit(peer.raw, allowed, from)
          return undefined
        } catch (error) {
          return error instanceof Error ? error : new Error(String(error))
        }
      },
    }
  }

  /**
   * The certificate of a finished handshake, checked now.
   * @throws {GridError} as `admit`
   */
  admitSocket(
    socket: Pick<TLSSocket, "getPeerX509Certificate">,
    allowed: readonly AdmittedAs[],
    from: AdmittedFrom = "own site",
  ): Certificate {
    const peer = socket.getPeerX509Certificate()
    if (peer === undefined) throw new GridError("CERTIFICATE_INVALID", "the connection showed no certificate")
    return this.admit(peer.raw, allowed, from)
  }

  /**
   * The certificate's meaning, when its holder is admitted as one of `allowed` at this moment. Who holds an invite of another site never is.
   * @throws {GridError} CERTIFICATE_INVALID, CERTIFICATE_EXPIRED, CERTIFICATE_NOT_YET_VALID
   */
  admit(certificateDer: Uint8Array, allowed: readonly AdmittedAs[], from: AdmittedFrom = "own site"): Certificate {
    const { certificate, issuer } = this.#verify(certificateDer)
    const id = idOf(certificate)
    const isOwn = certificate.site === this.#site
    if (!isOwn && (from === "own site" || certificate.kind === "invite"))
      throw new GridError("CERTIFICATE_INVALID", `${certificate.kind} ${id} is of site ${certificate.site}, not ${this.#site}`)
    const { revoked } = this.#siteOf(certificate.site) ?? noSite
    this.#requireCurrent(certificate.notBeforeMs, certificate.notAfterMs, `certificate of ${certificate.kind} ${id}`)
    this.#requireCurrent(issuer.validFromDate.getTime(), issuer.validToDate.getTime(), `authority of ${certificate.site}`)
    if (revoked.has(id)) throw new GridError("CERTIFICATE_INVALID", `${certificate.kind} ${id} was revoked by ${certificate.site}`)
    const as = certificate.kind === "invite" ? "invite" : certificate.role
    if (!allowed.includes(as))
      throw new GridError("CERTIFICATE_INVALID", `${id} is certified as ${as}; here ${allowed.join(" or ")} is needed`)
    return certificate
  }

  /** @throws {GridError} CERTIFICATE_INVALID when it is not of the form it must have, or of no authority of the site that it names */
  #verify(certificateDer: Uint8Array): Verified {
    const digest = hash("sha256", certificateDer)
    const known = this.#verified.get(digest)
    if (known !== undefined) return known
    const certificate = readCertificate(certificateDer)
    const parsed = new X509Certificate(certificate.der)
    // By an authority of that very site: no site's authority speaks for another's members.
    const issuer = issuerOf(parsed, this.#siteOf(certificate.site)?.authorities ?? [])
    if (issuer === undefined) {
      const sites = [this.#site, ...this.#federated.keys()]
      const of = sites.includes(certificate.site) ? certificate.site : sites.join(" or ")
      throw new GridError("CERTIFICATE_INVALID", `${certificate.kind} ${idOf(certificate)} is not certified by an authority of ${of}`)
    }
    const verified = { certificate, issuer }
    keepNewest(this.#verified, digest, verified, VERIFIED_MAX)
    return verified
  }

  #siteOf(site: string): Site | undefined {
    return site === this.#site ? { authorities: this.#authorities, revoked: this.#revoked } : this.#federated.get(site)
  }

  #readFederated(sites: readonly FederatedSite[]): ReadonlyMap<string, Site> {
    const read = sites.map(
      ({ site, authorities, revoked }) => [site, { authorities: authorities.map(readAuthority), revoked: new Set(revoked) }] as const,
    )
    const federated = new Map<string, Site>(read)
    if (federated.has(this.#site)) throw new TypeError(`${this.#site} does not federate with itself`)
    return federated
  }

  /** What to show to a peer that knows this authority; undefined where that is the newest certificate. */
  #alternateFor(name: string): SecureContext | undefined {
    const made = this.#alternateContexts.get(name)
    if (made !== undefined) return made
    for (const alternate of this.#alternates) {
      const issuer = issuerOf(new X509Certificate(alternate.der), this.#authorities)
      if (issuer === undefined || authorityName(issuer) !== name) continue
      const context = createSecureContext(this.#contextOptions(alternate))
      this.#alternateContexts.set(name, context)
      return context
    }
    return undefined
  }

  #requireCurrent(notBeforeMs: number, notAfterMs: number, what: string): void {
    const nowMs = this.#clock.nowMs()
    const here = `this machine's clock says ${new Date(nowMs).toISOString()}`
    if (nowMs < notBeforeMs)
      throw new GridError("CERTIFICATE_NOT_YET_VALID", `${what} begins at ${new Date(notBeforeMs).toISOString()}, and ${here}`)
    if (nowMs >= notAfterMs)
      throw new GridError("CERTIFICATE_EXPIRED", `${what} ended at ${new Date(notAfterMs).toISOString()}, and ${here}`)
  }

  #ownCertificate(der: Uint8Array): Certificate {
    const certificate = readCertificate(der)
    if (certificate.signingKeyHex !== this.#signing.publicKeyHex)
      throw new GridError("CERTIFICATE_INVALID", "the own certificate is not for the own key")
    return certificate
  }

  #contextOptions(certificate: Certificate): TlsOptions {
    return {
      minVersion: "TLSv1.3",
      maxVersion: "TLSv1.3",
      ciphers: CIPHERS,
      honorCipherOrder: true,
      sigalgs: "ed25519",
      // Every connection shows its certificate: without tickets, and with no session kept here, none is resumed.
      secureOptions: constants.SSL_OP_NO_TICKET,
      key: this.#signing.privateKey.export({ format: "pem", type: "pkcs8" }),
      cert: new X509Certificate(certificate.der).toString(),
      ca: [...this.#authorities, ...[...this.#federated.values()].flatMap(({ authorities }) => authorities)].map(String),
    }
  }
}

const noSite: Site = { authorities: [], revoked: new Set() }

function issuerOf(certificate: X509Certificate, authorities: readonly X509Certificate[]): X509Certificate | undefined {
  return authorities.find((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey))
}

function idOf(certificate: Certificate): string {
  return certificate.kind === "member" ? certificate.memberId : certificate.inviteId
}

/** What a dialling end calls an authority by: the id of its key, which is no secret. */
function authorityName(authority: X509Certificate): string {
  return memberIdOf(rawPublicKeyHex(authority.publicKey))
}

function readAuthority(der: Uint8Array): X509Certificate {
  const parsed = parseCertificate(der)
  if (!parsed.ca || parsed.publicKey.asymmetricKeyType !== "ed25519" || !parsed.verify(parsed.publicKey))
    throw new GridError("CERTIFICATE_INVALID", "not a self-signed Ed25519 authority")
  return parsed
}

function sameCertificates(a: readonly Certificate[], b: readonly Certificate[]): boolean {
  return a.length === b.length && a.every(({ der }, position) => b[position]?.der.equals(der) === true)
}

function sameSets(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.symmetricDifference(b).size === 0
}

function sameSites(a: ReadonlyMap<string, Site>, b: ReadonlyMap<string, Site>): boolean {
  if (a.size !== b.size) return false
  return [...a].every(([name, one]) => {
    const other = b.get(name)
    return other !== undefined && sameAuthorities(one.authorities, other.authorities) && sameSets(one.revoked, other.revoked)
  })
}

function sameAuthorities(a: readonly X509Certificate[], b: readonly X509Certificate[]): boolean {
  return a.length === b.length && a.every((authority, position) => b[position]?.raw.equals(authority.raw) === true)
}
