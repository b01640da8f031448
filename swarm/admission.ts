/** What the swarm needs of membership (crypto/admission.ts): certificates for its own end of a connection, and a verdict on the other end's. */
import type { ConnectionOptions, TLSSocket, TlsOptions } from "node:tls"
import { GridError } from "#core/errors.ts"
import type { PeerRole } from "./core/events.ts"

export interface SwarmAdmission {
  tlsServerOptions(): TlsOptions
  tlsClientOptions(): ConnectionOptions
  /**
   * Who is at the other end, once the handshake of TLS is done; asked again of every live connection after a change.
   * @throws {GridError} CERTIFICATE_INVALID, CERTIFICATE_EXPIRED or CERTIFICATE_NOT_YET_VALID when the peer is not admitted
   */
  admitSocket(
    socket: TLSSocket,
    allowed: readonly PeerRole[],
  ): { readonly kind: "member"; readonly role: PeerRole; readonly memberId: string } | { readonly kind: "invite" }
  /** Certificates, authorities or revocations have changed. Returns how to stop listening. */
  onChange(listener: () => void): () => void
}

export type AdmittedPeer = { readonly role: PeerRole; readonly memberId: string }

/** @throws {GridError} when the peer is not admitted */
export function admitPeer(admission: SwarmAdmission, socket: TLSSocket): AdmittedPeer {
  const certificate = admission.admitSocket(socket, ["server", "client"])
  if (certificate.kind !== "member") throw new GridError("CERTIFICATE_INVALID", "an invite is no member")
  return { role: certificate.role, memberId: certificate.memberId }
}
