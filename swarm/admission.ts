/** What the swarm needs of membership (crypto/admission.ts): certificates for its own end of a connection, and a verdict on the other end's. */
import type { X509Certificate } from "node:crypto"
import type { ConnectionOptions, TLSSocket, TlsOptions } from "node:tls"
import { ALL_MEMBERS, type AdmittedAs } from "#crypto/admission.ts"
import type { MemberRole } from "#crypto/certificate.ts"
import { GridError } from "#core/errors.ts"
import type { PeerRole } from "./core/events.ts"

export interface SwarmAdmission {
  /** The own ones. */
  readonly site: string
  readonly role: MemberRole
  tlsServerOptions(): TlsOptions
  tlsClientOptions(): ConnectionOptions
  /**
   * Who is at the other end, once the handshake of TLS is done; asked again of every live connection after a change.
   * @throws {GridError} CERTIFICATE_INVALID, CERTIFICATE_EXPIRED or CERTIFICATE_NOT_YET_VALID when the peer is not admitted
   */
  admitSocket(
    socket: Pick<TLSSocket, "getPeerX509Certificate">,
    allowed: readonly AdmittedAs[],
  ): { readonly kind: "member"; readonly site: string; readonly role: MemberRole; readonly memberId: string } | { readonly kind: "invite" }
  /** Certificates, authorities or revocations have changed. Returns how to stop listening. */
  onChange(listener: () => void): () => void
}

/** Who is at the other end of a connection, and what it showed. */
export type AdmittedPeer = {
  readonly site: string
  readonly role: PeerRole
  readonly memberId: string
  readonly certificate: X509Certificate
}

/** @throws {GridError} when the peer is not admitted */
export function admitPeer(admission: SwarmAdmission, socket: TLSSocket): AdmittedPeer {
  // Node gives the certificate of an answering end out once, and undefined from then on: it is kept for `requireStillAdmitted`.
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) throw new GridError("CERTIFICATE_INVALID", "the connection showed no certificate")
  return { ...admitCertificate(admission, certificate), certificate }
}

/** @throws {GridError} when the peer was admitted once and is not any more */
export function requireStillAdmitted(admission: SwarmAdmission, peer: AdmittedPeer): void {
  admitCertificate(admission, peer.certificate)
}

function admitCertificate(admission: SwarmAdmission, certificate: X509Certificate): Omit<AdmittedPeer, "certificate"> {
  const admitted = admission.admitSocket({ getPeerX509Certificate: () => certificate }, ALL_MEMBERS)
  if (admitted.kind !== "member") throw new GridError("CERTIFICATE_INVALID", "an invite is no member")
  return { site: admitted.site, role: admitted.role === "client" ? "client" : "server", memberId: admitted.memberId }
}
