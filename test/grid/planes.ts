/** Planes on loopback for tests: servers with keys by number, and a roster that the test changes as signed documents would. */
import { planeKeyOf } from "#crypto/plane-key.ts"
import { memberIdentity, type MemberIdentity } from "#crypto/identity.ts"
import type { Address } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import { siteName, type MemberId, type SiteName } from "#core/identifiers.ts"
import { DocumentSet } from "#grid/core/document-set.ts"
import { Plane, type PlaneLog, type PlaneParts, type PlaneServer } from "#grid/plane.ts"

export const silentPlaneLog: PlaneLog = { debug: () => undefined, info: () => undefined, warn: () => undefined }
export const cineca = siteName("cineca")

/** The network key of a site, by number: the older has the lower. */
export function networkKey(site: string, number = 0): Buffer {
  return Buffer.alloc(32, `${site} ${number} `)
}

export function identityOf(number: number): MemberIdentity {
  return memberIdentity(Buffer.alloc(32, `server ${number} `))
}

/** What the signed documents say, for all planes of a test or for one. */
export class RosterBook {
  readonly #listeners = new Set<() => void>()
  #servers: readonly PlaneServer[] = []

  get servers(): readonly PlaneServer[] {
    return this.#servers
  }

  set(servers: readonly PlaneServer[]): void {
    this.#servers = servers
    for (const listener of this.#listeners) listener()
  }

  /** Adds it, or puts it in the place of the one with its id. */
  put(server: PlaneServer): void {
    this.set([...this.#servers.filter(({ memberId }) => memberId !== server.memberId), server])
  }

  remove(memberId: MemberId): void {
    this.set(this.#servers.filter((server) => server.memberId !== memberId))
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

export function planeServer(identity: MemberIdentity, addresses: readonly Address[], site: SiteName = cineca): PlaneServer {
  return { memberId: identity.memberId, site, signingKeyHex: identity.signing.publicKeyHex, addresses }
}

/** A plane's parts with everything that a test does not care for. */
export function planeParts(identity: MemberIdentity, book: RosterBook, parts: Partial<PlaneParts> = {}): PlaneParts {
  return {
    memberId: identity.memberId,
    site: cineca,
    signing: identity.signing,
    roster: () => book.servers,
    onRosterChange: (listener) => book.onChange(listener),
    planeKeysOf: (site) => [planeKeyOf(networkKey(site))],
    mayHear: () => true,
    documents: new DocumentSet(),
    clock: systemClock,
    log: silentPlaneLog,
    ...parts,
  }
}

export const anywhere: Address = { host: "127.0.0.1", port: 0 }

/** Opens planes of servers 0, 1, ... that know each other. */
export async function openPlanes(count: number, book: RosterBook): Promise<Plane[]> {
  const planes: Plane[] = []
  for (let number = 0; number < count; number += 1) {
    const identity = identityOf(number)
    const plane = await Plane.open(planeParts(identity, book), { listen: anywhere })
    planes.push(plane)
    book.put(planeServer(identity, [plane.address]))
  }
  return planes
}

/** Resolves as soon as the condition holds, which is looked at after all that one of these planes tells. */
export async function until(planes: readonly Plane[], holds: () => boolean): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<null>()
  const look = () => {
    if (holds()) resolve(null)
  }
  const stops = planes.flatMap((plane) => [plane.onDocument(look), plane.onPeer(look)])
  look()
  await promise
  for (const stop of stops) stop()
}

export function areConnected(planes: readonly Plane[]): boolean {
  return planes.every((plane) => plane.peers().filter(({ isConnected }) => isConnected).length >= planes.length - 1)
}

export function areAlike(planes: readonly Plane[]): boolean {
  const [first, ...others] = planes.map((plane) => plane.documents.summary())
  return first !== undefined && others.every((summary) => summary.equals(first))
}
