/** What must hold of every host at every moment, and of a whole run at its end. Each check holds what a core says against what was counted outside of it. */
import { defaultLimits } from "#swarm/core/limits.ts"
import type { Cutting } from "./pieces.ts"
import type { LinkEnd, VirtualHost } from "./virtual-host.ts"

/** Time in which nothing went over a connection that owes an answer: far more than any queue or processor of the model takes. */
const SILENCE_MAX_MS = 5_000
/** The same, where the other end may have to wait for its site's budget. */
const BUDGET_SILENCE_MAX_MS = 60_000

/** Names the host, the time and the seed: with them, the run can be repeated. */
export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation"

  constructor(what: string, at: { readonly host: string; readonly nowMs: number; readonly seed: number }, options?: ErrorOptions) {
    super(`${what} (${at.host}, after ${at.nowMs.toFixed(3)} ms, seed ${at.seed})`, options)
  }
}

/** What is wrong with a host at this moment; null when nothing is. */
export function wrongNow(host: VirtualHost, cutting: Cutting): string | null {
  const { missing, partial, verifying, held, inFlight, unchoked } = host.core.census()
  const { pieceCount } = cutting.shape
  const { books } = host
  const sum = missing + partial + verifying + held
  if (sum !== pieceCount || Math.min(missing, partial, verifying, held) < 0)
    return `${missing} pieces missing, ${partial} partial, ${verifying} being verified and ${held} held are not ${pieceCount}`
  if (held !== books.storedPieces) return `${held} pieces held, but ${books.storedPieces} were stored`
  if (verifying > books.verifyingPieces) return `${verifying} pieces said to be verified, but ${books.verifyingPieces} are`
  if (partial < books.begunPieces) return `${partial} partial pieces, but blocks of ${books.begunPieces} are kept`
  if (inFlight < 0 || inFlight > books.unanswered) return `${inFlight} requests in flight, but ${books.unanswered} are on the wire`
  const known = books.knownPeers
  if (inFlight > known * defaultLimits.requestsCeiling) return `${inFlight} requests in flight of ${known} peers`
  if (unchoked < 0 || unchoked > known) return `${unchoked} peers unchoked of ${known}`
  return null
}

/** A request that nobody will answer: its connection stands, and has been empty in both directions ever since. null when there is none. */
export function lostRequest(host: VirtualHost, nowMs: number): string | null {
  for (const end of host.links.values()) {
    if (end.unanswered === 0 || end.other.host.frozen) continue
    const { site } = end.other.host
    const silenceMaxMs = site.budgeted && site !== host.site ? BUDGET_SILENCE_MAX_MS : SILENCE_MAX_MS
    if (!isSilent(end, nowMs, silenceMaxMs) || !isSilent(end.other, nowMs, silenceMaxMs)) continue
    for (const [block, askedAtMs] of end.asked ?? [])
      if (nowMs - askedAtMs > silenceMaxMs)
        return `the request of block ${block} to ${end.other.host.name} is unanswered after ${(nowMs - askedAtMs).toFixed(0)} ms`
  }
  return null
}

function isSilent(end: LinkEnd, nowMs: number, silenceMaxMs: number): boolean {
  return (
    end.queue.length === 0 && end.arriving.length === 0 && end.writtenBytes === end.arrivedBytes && nowMs - end.lastArrivalMs > silenceMaxMs
  )
}

/** What is wrong with a host when all is over; null when nothing is. */
export function wrongAtEnd(host: VirtualHost, cutting: Cutting): string | null {
  const { books, core } = host
  const { downloadedBytes, duplicateBytes, fromServersBytes, fromClientsBytes, fromOtherSitesBytes, uploadedBytes } = core.statistics
  const { contentBytes } = cutting.shape
  if (fromServersBytes + fromClientsBytes !== downloadedBytes)
    return `${fromServersBytes} bytes from servers and ${fromClientsBytes} from clients are not the ${downloadedBytes} downloaded`
  if (fromOtherSitesBytes !== books.crossedBytes)
    return `${fromOtherSitesBytes} bytes said to be from other sites, but ${books.crossedBytes} are`
  if (downloadedBytes !== books.deliveredBytes) return `${downloadedBytes} bytes downloaded, but ${books.deliveredBytes} were delivered`
  if (downloadedBytes - duplicateBytes !== books.everKeptBytes)
    return `${downloadedBytes} bytes downloaded less ${duplicateBytes} duplicate are not the ${books.everKeptBytes} kept`
  if (uploadedBytes !== books.uploadedBytes) return `${uploadedBytes} bytes uploaded, but ${books.uploadedBytes} were reported`
  if (!core.complete) return `only ${core.held.count} of ${cutting.shape.pieceCount} pieces`
  if (host.wanted && books.keptBytes !== contentBytes) return `${books.keptBytes} bytes kept of a file of ${contentBytes}`
  const { inFlight } = core.census()
  if (inFlight !== 0) return `${inFlight} requests in flight when everything is there`
  return null
}

/** Requests without an answer on connections that stand. */
export function unansweredOf(ends: readonly LinkEnd[]): number {
  let count = 0
  for (const end of ends) if (end.open && !end.host.frozen && !end.other.host.frozen) count += end.unanswered
  return count
}
