/** `imagegrid status`: what a home is, how fresh what it knows is, and what needs attention. */
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import { attentionOf } from "#trust/attention.ts"
import { defaultLifetimes } from "#trust/lifetimes.ts"
import { catalogToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { formatDuration } from "../progress.ts"

export default async function run(context: CommandContext): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const inUse = isInUse(home)
  const catalog = await catalogToShow(home, context)
  const certificate = await home.certificate()
  const nowMs = systemClock.nowMs()
  const timestampEndsAtMs =
    catalog.roles.find(({ name, paths }) => name === "timestamp" && paths === null)?.expiresAtMs ?? catalog.expiresAtMs
  const signedAtMs = timestampEndsAtMs - defaultLifetimes.timestamp
  const attention = attentionOf(catalog, nowMs).filter(({ code }) => code !== "one-key")
  const { site, role, memberId } = home
  output.event("status", {
    site,
    role,
    memberId,
    inUse,
    certificateExpiresAtMs: certificate.notAfterMs,
    catalogSeq: catalog.seq,
    catalogSignedAtMs: signedAtMs,
    catalogExpiresAtMs: catalog.expiresAtMs,
    images: catalog.images.size,
    attention,
  })
  output.say(`${role[0]?.toUpperCase()}${role.slice(1)} ${memberId} of site ${site}${inUse ? "; a process uses this home now" : ""}.`)
  output.say(`Certificate: ${goodFor(certificate.notAfterMs, nowMs)}, groups ${certificate.groups.join(", ") || "none"}.`)
  output.say(
    `Catalog: signed ${formatDuration(nowMs - signedAtMs)} ago, ${goodFor(catalog.expiresAtMs, nowMs)}, ${catalog.images.size} image versions.`,
  )
  for (const { detail } of attention) output.say(`ATTENTION: ${detail}.`)
  if (attention.length === 0) output.say("Nothing needs attention.")
}

function goodFor(untilMs: number, nowMs: number): string {
  return untilMs > nowMs ? `good for ${formatDuration(untilMs - nowMs)}` : `ended ${formatDuration(nowMs - untilMs)} ago`
}

function isInUse(home: Home): boolean {
  try {
    home.lock().release()
    return false
  } catch (error) {
    if (error instanceof GridError && error.code === "HOME_IN_USE") return true
    throw error
  }
}
