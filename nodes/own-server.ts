/**
 * The server of a home, whether it runs or not: a command that changes the site asks the running one, and does its part where none runs.
 */
import { applyChange, type Change } from "#trust/change.ts"
import { packCatalog } from "#trust/catalog-file.ts"
import type { Catalog } from "#trust/catalog.ts"
import { address, type Address } from "#core/address.ts"
import type { Clock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { readBundleTaken, readDeployments, readGridStatus, routes, type BundleTaken, type Deployment, type GridStatus } from "#core/wire.ts"
import { seedsFrom, type RecordChange } from "#member/catalog-keeper.ts"
import type { Home } from "#member/home.ts"
import type { Log } from "#member/log.ts"
import { Member } from "#member/member.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import type { HomeLock } from "#store/home-lock.ts"
import { LayerStore } from "#store/layer-store.ts"
import { changeEvents } from "./audit-entry.ts"
import { AuditLog } from "./audit-log.ts"
import { saveDraining } from "./draining.ts"
import { encodePublication, requireLayersHeld } from "./publication.ts"
import { IMPORTING, takeBundle } from "./take-bundle.ts"

export type OwnServerParts = { readonly home: Home; readonly clock: Clock; readonly log: Log }

const APPLY_TIMEOUT_MS = 60_000
/** Hashing what was carried here takes its time. */
const BUNDLE_TIMEOUT_MS = 6 * 3_600_000
const GRID_BYTES_MAX = 8 * 1024 * 1024
const DEPLOYMENTS_BYTES_MAX = 64 * 1024 * 1024
const BUNDLE_ANSWER_BYTES_MAX = 64 * 1024 * 1024

/** The catalog of this home, of a server that runs too: it uses none before it is on disk. It may have expired: a change may be what brings it back. */
export async function currentCatalog({ home, clock }: OwnServerParts): Promise<Catalog> {
  return (await storedCatalog(home, clock.nowMs())).catalog
}

/**
 * Hands a signed change to the running server of this home, or takes it into the home where none runs.
 * @throws {GridError} as applyChange; SEEDERS_MISSING when it publishes layers that are not in the home's store
 */
export async function submitChange(parts: OwnServerParts, change: Change): Promise<void> {
  const { home, clock } = parts
  const held = tryLock(home)
  if (held === null) {
    await withOwnServer(parts, (member, own) =>
      member.api.bytes(own, { method: "POST", path: routes.publications, body: encodePublication(change), timeoutMs: APPLY_TIMEOUT_MS }),
    )
    return
  }
  try {
    const { catalog } = await storedCatalog(home, clock.nowMs())
    await using layers = await LayerStore.open(home.path("layers"))
    await requireLayersHeld(layers, change)
    const online = seedsFrom(await home.onlineKeys())
    const files = applyChange({ files: catalog.files, change, online, nowMs: clock.nowMs() })
    const bytes = await packCatalog(files)
    await new AuditLog({ home, clock }).append(changeEvents(catalog.files, files, null))
    await home.saveCatalog(bytes)
  } finally {
    held.release()
  }
}

/**
 * Takes a bundle that lies unpacked below the home's `importing/` into the running server of this home, or into the home where none runs.
 * @throws {GridError} as takeBundle
 */
export async function submitBundle(parts: OwnServerParts, directory: string): Promise<BundleTaken> {
  const { home, clock, log } = parts
  const held = tryLock(home)
  if (held === null) {
    const request = {
      method: "POST",
      path: routes.bundles,
      body: { directory },
      timeoutMs: BUNDLE_TIMEOUT_MS,
      maxBytes: BUNDLE_ANSWER_BYTES_MAX,
    } as const
    return withOwnServer(parts, (member, own) => member.api.json(own, request, readBundleTaken))
  }
  try {
    const audit = new AuditLog({ home, clock })
    const recordChange: RecordChange = (before, after, from) => audit.append(changeEvents(before, after, from))
    const member = await Member.start({ home, clock, log, recordChange }, { network: "api-only" })
    try {
      await using layers = await LayerStore.open(home.path("layers"))
      return await takeBundle(member, layers, home.path(IMPORTING, directory))
    } finally {
      await member.close()
    }
  } finally {
    held.release()
  }
}

/** Deploys of the site's clients, as any of its servers heard of them. @throws {GridError} SERVERS_UNREACHABLE where the home's server does not run */
export async function deployments(parts: OwnServerParts): Promise<Deployment[]> {
  requireRunning(parts)
  const request = { path: routes.deployments, maxBytes: DEPLOYMENTS_BYTES_MAX }
  return withOwnServer(parts, async (member, own) => (await member.api.json(own, request, readDeployments)).deployments)
}

/** The grid as the running server of this home sees it. @throws {GridError} ROLE_WRONG when none runs */
export async function gridStatus(parts: OwnServerParts): Promise<GridStatus> {
  requireRunning(parts)
  return withOwnServer(parts, (member, own) => member.api.json(own, { path: routes.grid, maxBytes: GRID_BYTES_MAX }, readGridStatus))
}

/** Has the server of this home leave the grid, or take part again. Where it does not run it does so when it is started; the answer is null then. */
export async function setDraining(parts: OwnServerParts, draining: boolean): Promise<GridStatus | null> {
  const held = tryLock(parts.home)
  if (held !== null) {
    await saveDraining(parts.home, draining).finally(() => held.release())
    return null
  }
  const request = { method: "POST", path: routes.drain, body: { draining }, maxBytes: GRID_BYTES_MAX } as const
  return withOwnServer(parts, (member, own) => member.api.json(own, request, readGridStatus))
}

function requireRunning({ home }: OwnServerParts): void {
  const held = tryLock(home)
  held?.release()
  if (held !== null)
    throw new GridError("ROLE_WRONG", `no server runs in ${home.directory}; start it with 'imagegrid server run', or ask at another one`)
}

function tryLock(home: Home): HomeLock | null {
  try {
    return home.lock()
  } catch (error) {
    if (error instanceof GridError && error.code === "HOME_IN_USE") return null
    throw error
  }
}

async function withOwnServer<Answer>(parts: OwnServerParts, ask: (member: Member, own: Address) => Promise<Answer>): Promise<Answer> {
  const member = await Member.start({ home: parts.home, clock: parts.clock, log: parts.log }, { network: "api-only" })
  try {
    const own = member.directory.records().find((record) => record.memberId === parts.home.memberId)
    if (own === undefined)
      throw new GridError(
        "HOME_IN_USE",
        `another process uses ${parts.home.directory} and is no server that runs; wait for it, then try again`,
      )
    return await ask(member, address(own.api))
  } finally {
    await member.close()
  }
}
