/**
 * Member and invite certificates: Ed25519 X.509 (RFC 5280, RFC 8410) whose whole meaning is one URI in the subject alternative
 * name. Exactly one text stands for each subject, and a member's id is the digest of the certified key: what
 * `readCertificate` returns was in that form. Who signed it, and whether it is current, is admission.ts's question.
 *
 * An invite is a certificate too, so that a join already runs inside mutual TLS.
 */
// oxlint-disable-next-line import/no-unassigned-import -- @peculiar/x509 needs the Reflect functions that this adds
import "reflect-metadata"
import { webcrypto, X509Certificate } from "node:crypto"
import * as x509 from "@peculiar/x509"
import { GridError } from "#core/errors.ts"
import { groupName, memberId, siteName, type GroupName, type MemberId, type SiteName } from "#core/identifiers.ts"
import { memberIdOf, publicKeyDer, rawPublicKeyHex, signingKeyFromSeed } from "./identity.ts"

/** `server`: keeps the site going with its online keys. `mirror`: holds and seeds sealed bytes, and no key that opens or signs. */
export type MemberRole = "server" | "mirror" | "client"

export type MemberSubject = {
  readonly kind: "member"
  readonly site: SiteName
  readonly role: MemberRole
  readonly memberId: MemberId
  readonly groups: readonly GroupName[]
  /** X25519 key that secrets for this member are sealed to. */
  readonly sealingKeyHex: string
}

/** Permission to join: who holds the certified key may become a member of this role and these groups. */
export type InviteSubject = {
  readonly kind: "invite"
  readonly site: SiteName
  /** 32 hex digits. */
  readonly inviteId: string
  readonly role: MemberRole
  readonly groups: readonly GroupName[]
  /** How many members may join with it. */
  readonly uses: number
}

type Certified = {
  readonly signingKeyHex: string
  /** Unix ms, whole seconds: the first moment of validity. */
  readonly notBeforeMs: number
  /** Unix ms, whole seconds: from here on it is expired. */
  readonly notAfterMs: number
  readonly der: Buffer
}
export type MemberCertificate = MemberSubject & Certified
export type InviteCertificate = InviteSubject & Certified
export type Certificate = MemberCertificate | InviteCertificate

/** Largest certificate that is read: core/wire.ts carries 4,000 characters of base64. */
const CERTIFICATE_BYTES_MAX = 3_000
/** Groups and all; leaves room for the rest of the certificate. */
const URI_LENGTH_MAX = 2_000
const USES_MAX = 100_000

const URI_FORM =
  /^imagegrid:\/\/([^/?]+)\/(member|invite)\/([0-9a-f]{32})\?role=(server|mirror|client)&groups=([a-z0-9,-]*)&(seal|uses)=([0-9a-f]+)$/

export type AuthorityParts = {
  readonly site: SiteName
  readonly seed: Uint8Array
  readonly notBeforeMs: number
  readonly notAfterMs: number
  readonly serial: Uint8Array
}

/** A self-signed authority, DER. */
export async function issueAuthority({ site, seed, notBeforeMs, notAfterMs, serial }: AuthorityParts): Promise<Buffer> {
  const { publicKeyHex } = signingKeyFromSeed(seed)
  const spki = publicKeyDer(publicKeyHex)
  // The name holds the key's id, so that two authorities of a site are told apart while one replaces the other.
  const name = `O=${site}, CN=imagegrid authority ${memberIdOf(publicKeyHex)}`
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialHex(serial),
      subject: name,
      issuer: name,
      notBefore: wholeSecond(notBeforeMs),
      notAfter: wholeSecond(notAfterMs),
      publicKey: spki,
      signingKey: await webSigningKey(seed),
      signingAlgorithm: { name: "Ed25519" },
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
        await x509.SubjectKeyIdentifierExtension.create(spki, false, webcrypto),
      ],
    },
    webcrypto,
  )
  return Buffer.from(certificate.rawData)
}

export type CertificateParts = {
  readonly authoritySeed: Uint8Array
  readonly authorityDer: Uint8Array
  readonly subject: MemberSubject | InviteSubject
  /** Ed25519 public key that is certified. */
  readonly signingKeyHex: string
  readonly notBeforeMs: number
  readonly notAfterMs: number
  /** 16 unpredictable bytes. */
  readonly serial: Uint8Array
}

/**
 * A certificate for a member or an invite, DER. Times are cut to whole seconds.
 * @throws {GridError} CERTIFICATE_INVALID when the subject can't be certified so; KEY_MISSING when the seed is not the authority's
 */
export async function issueCertificate(parts: CertificateParts): Promise<Buffer> {
  const { subject, signingKeyHex } = parts
  const authority = new x509.X509Certificate(Buffer.from(parts.authorityDer))
  const authorityKeyHex = rawPublicKeyHex(new X509Certificate(parts.authorityDer).publicKey)
  if (signingKeyFromSeed(parts.authoritySeed).publicKeyHex !== authorityKeyHex)
    throw new GridError("KEY_MISSING", "this is not the key of the site's authority; use a server of the site")
  const uri = subjectUri(subject, signingKeyHex)
  const usages = [x509.ExtendedKeyUsage.clientAuth]
  // An invite only ever dials: OpenSSL itself then refuses it as the answering end.
  if (subject.kind === "member") usages.push(x509.ExtendedKeyUsage.serverAuth)
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialHex(parts.serial),
      subject: `CN=${subject.kind} ${subject.kind === "member" ? subject.memberId : subject.inviteId}`,
      issuer: authority.subject,
      notBefore: wholeSecond(parts.notBeforeMs),
      notAfter: wholeSecond(parts.notAfterMs),
      publicKey: publicKeyDer(signingKeyHex),
      signingKey: await webSigningKey(parts.authoritySeed),
      signingAlgorithm: { name: "Ed25519" },
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(usages, false),
        new x509.SubjectAlternativeNameExtension([{ type: "url", value: uri }], false),
        await x509.AuthorityKeyIdentifierExtension.create(publicKeyDer(authorityKeyHex), false, webcrypto),
      ],
    },
    webcrypto,
  )
  const der = Buffer.from(certificate.rawData)
  readCertificate(der)
  return der
}

/**
 * Reads a certificate of any origin. Its signature and times are not checked here.
 * @throws {GridError} CERTIFICATE_INVALID
 */
export function readCertificate(der: Uint8Array): Certificate {
  const parsed = parseCertificate(der)
  if (parsed.ca) refuse("an authority's certificate, not a member's")
  if (parsed.publicKey.asymmetricKeyType !== "ed25519") refuse(`its key is ${parsed.publicKey.asymmetricKeyType ?? "unknown"}, not Ed25519`)
  const certified = {
    signingKeyHex: rawPublicKeyHex(parsed.publicKey),
    notBeforeMs: parsed.validFromDate.getTime(),
    notAfterMs: parsed.validToDate.getTime(),
    der: parsed.raw,
  }
  const uri = subjectAlternativeUri(parsed)
  const subject = readSubject(uri)
  // One text for one subject: what does not come out again as it went in is not ours.
  if (subjectUri(subject, certified.signingKeyHex) !== uri) refuse("its subject is not in the one form it must have")
  return { ...subject, ...certified }
}

/** DER of any origin as an X.509 certificate: DER alone, whole, of bounded size. @throws {GridError} CERTIFICATE_INVALID */
export function parseCertificate(der: Uint8Array): X509Certificate {
  if (der.length > CERTIFICATE_BYTES_MAX) refuse(`${der.length} bytes, at most ${CERTIFICATE_BYTES_MAX} are taken`)
  let parsed: X509Certificate
  try {
    parsed = new X509Certificate(der)
    void parsed.publicKey
  } catch (cause) {
    throw new GridError("CERTIFICATE_INVALID", "not an X.509 certificate in DER", { cause })
  }
  if (!parsed.raw.equals(der)) refuse("bytes before or after the certificate")
  return parsed
}

function subjectAlternativeUri(parsed: X509Certificate): string {
  const text = parsed.subjectAltName ?? refuse("it has no subject alternative name")
  if (!text.startsWith("URI:")) refuse("its subject alternative name is no URI")
  const value = text.slice("URI:".length)
  if (!value.startsWith('"')) return value
  // Node quotes a name that holds a comma, as JSON.
  try {
    return String(JSON.parse(value))
  } catch (cause) {
    throw new GridError("CERTIFICATE_INVALID", "it has more than one subject alternative name", { cause })
  }
}

function readSubject(uri: string): MemberSubject | InviteSubject {
  const form = uri.length > URI_LENGTH_MAX ? null : URI_FORM.exec(uri)
  if (form === null) refuse(`its subject ${JSON.stringify(uri.slice(0, 200))} is not an imagegrid member or invite`)
  const [, siteText = "", kind, id = "", role, groupText = "", field, value = ""] = form
  try {
    const common = {
      site: siteName(siteText),
      role: role as MemberRole,
      groups: groupText === "" ? [] : groupText.split(",").map((group) => groupName(group)),
    }
    if (kind === "member" && field === "seal") return { kind, ...common, memberId: memberId(id), sealingKeyHex: value }
    if (kind === "invite" && field === "uses") return { kind, ...common, inviteId: id, uses: Number(value) }
  } catch (cause) {
    throw new GridError("CERTIFICATE_INVALID", "its subject holds a name out of form", { cause })
  }
  return refuse("its subject is neither a member nor an invite")
}

/** The one text of a subject, after checking it. */
function subjectUri(subject: MemberSubject | InviteSubject, signingKeyHex: string): string {
  const groups = [...new Set(subject.groups)].sort()
  const head = (id: string): string => `imagegrid://${subject.site}/${subject.kind}/${id}?role=${subject.role}&groups=${groups.join(",")}`
  let uri: string
  if (subject.kind === "member") {
    if (subject.memberId !== memberIdOf(signingKeyHex)) refuse("the member id is not the digest of the certified key")
    if (!/^[0-9a-f]{64}$/.test(subject.sealingKeyHex)) refuse("the sealing key is not 64 hex digits")
    uri = `${head(subject.memberId)}&seal=${subject.sealingKeyHex}`
  } else {
    if (!/^[0-9a-f]{32}$/.test(subject.inviteId)) refuse("the invite id is not 32 hex digits")
    if (!Number.isInteger(subject.uses) || subject.uses < 1 || subject.uses > USES_MAX) refuse(`uses are 1 to ${USES_MAX}`)
    uri = `${head(subject.inviteId)}&uses=${subject.uses}`
  }
  if (uri.length > URI_LENGTH_MAX) refuse(`${groups.length} groups do not fit into a certificate; name fewer`)
  return uri
}

async function webSigningKey(seed: Uint8Array): Promise<webcrypto.CryptoKey> {
  const pkcs8 = signingKeyFromSeed(seed).privateKey.export({ format: "der", type: "pkcs8" })
  return await webcrypto.subtle.importKey("pkcs8", pkcs8, { name: "Ed25519" }, false, ["sign"])
}

function serialHex(serial: Uint8Array): string {
  if (serial.length !== 16) throw new RangeError(`a serial number is 16 bytes, not ${serial.length}`)
  // RFC 5280 4.1.2.2: positive and not zero.
  return `01${Buffer.from(serial).toString("hex")}`
}

function wholeSecond(atMs: number): Date {
  return new Date(Math.floor(atMs / 1_000) * 1_000)
}

function refuse(detail: string): never {
  throw new GridError("CERTIFICATE_INVALID", detail)
}
