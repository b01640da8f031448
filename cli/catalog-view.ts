/** The catalogs for commands that only show: the newest that a server gives within seconds, else the one kept in the home. */
import { systemClock } from "#core/clock.ts"
import type { Catalog } from "#trust/catalog.ts"
import { FederatedCatalogs } from "#member/federated-catalogs.ts"
import type { Home } from "#member/home.ts"
import type { ImageSources } from "#member/image-sources.ts"
import { silentLog } from "#member/log.ts"
import type { Freshness } from "#member/freshness.ts"
import { Member } from "#member/member.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import type { CommandContext } from "./command.ts"
import { tellFreshness } from "./tell-freshness.ts"

const REFRESH_TIMEOUT_MS = 5_000

export async function imagesToShow(home: Home, context: Pick<CommandContext, "output" | "signal">): Promise<ImageSources> {
  const own = await catalogToShow(home, context)
  return { own, federated: await FederatedCatalogs.open({ home, clock: systemClock, log: silentLog, own: () => own }) }
}

export async function catalogToShow(home: Home, context: Pick<CommandContext, "output" | "signal">): Promise<Catalog> {
  const { output, signal } = context
  const { catalog } = await storedCatalog(home, systemClock.nowMs())
  if (home.role !== "client") return catalog
  const asked = await newestFromServers(home, AbortSignal.any([signal, AbortSignal.timeout(REFRESH_TIMEOUT_MS)]))
  if (asked === null) return (await storedCatalog(home, systemClock.nowMs())).catalog
  tellFreshness(output, asked.freshness, systemClock.nowMs())
  if (asked.answers > 0) return asked.catalog
  const ended = new Date(catalog.expiresAtMs).toISOString()
  const state = catalog.expiresAtMs > systemClock.nowMs() ? `is valid until ${ended}` : `has expired at ${ended}`
  output.warn(`no server answered; this is the catalog that this home kept, which ${state}`)
  return catalog
}

/** Null when another process holds the home, which keeps its catalog new. */
async function newestFromServers(
  home: Home,
  signal: AbortSignal,
): Promise<{ readonly answers: number; readonly catalog: Catalog; readonly freshness: Freshness } | null> {
  let lock
  try {
    lock = home.lock()
  } catch {
    return null
  }
  try {
    const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
    try {
      const { answers } = await member.catalogs.refresh(signal)
      await member.federation.refresh(signal)
      return { answers, catalog: member.catalogs.catalog, freshness: member.catalogs.freshness() }
    } finally {
      await member.close()
    }
  } finally {
    lock.release()
  }
}
