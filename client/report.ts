/** Tells a server how a deploy ended, for its audit log. At best: a deploy neither fails nor waits long because nobody would hear it. */
import { GridError } from "#core/errors.ts"
import { routes, type DeployReport } from "#core/wire.ts"
import { findImage, formatImage, requireFresh } from "#member/image-sources.ts"
import type { Member } from "#member/member.ts"
import type { DeploymentRecord } from "./deployment-record.ts"
import { reportingProgress } from "./progress-reporter.ts"
import { deployImage, type DeployEvent, type DeployOptions, type DeployParts } from "./deploy.ts"

/** One after another, until one has taken it. */
const SERVERS_ASKED_MAX = 3
const ANSWER_TIMEOUT_MS = 2_000

/** As `deployImage`, and reports that the image is good, or why it is not. A run that was told to stop reports nothing: it can be gone on with. */
export async function deployAndReport(parts: DeployParts, options: DeployOptions): Promise<DeploymentRecord> {
  const { member } = parts
  const found = findImage(member.images, options.query)
  requireFresh(found.catalog, member.clock.nowMs())
  const image = formatImage(found.manifest, member.home.site)
  const startedMs = member.clock.nowMs()
  let traffic: Pick<DeployReport, "bytes" | "fromServers" | "fromClients"> = {}
  const sent: Promise<void>[] = []
  const report = (ending: Pick<DeployReport, "event" | "code">) => {
    // Whatever follows, one deploy has one ending.
    if (sent.length > 0) return
    sent.push(sendReport(member, { ...ending, image, tookMs: Math.max(0, member.clock.nowMs() - startedMs), ...traffic }))
  }
  const watch = (event: DeployEvent) => {
    if (event.event === "downloaded") traffic = { bytes: event.bytes, fromServers: event.fromOrigins, fromClients: event.fromClients }
    // At once, and not when seeding ends: that may be never.
    if (event.event === "good") report({ event: "deployed" })
    parts.emit(event)
  }
  try {
    return await reportingProgress({ member, host: options.host, image, emit: watch }, (emit) => deployImage({ ...parts, emit }, options))
  } catch (error) {
    const code = error instanceof GridError ? error.code : "INTERNAL"
    if (code !== "INTERRUPTED") report({ event: "failed", code })
    throw error
  } finally {
    await Promise.all(sent)
  }
}

/** Never rejects. */
async function sendReport(member: Member, report: DeployReport): Promise<void> {
  for (const server of member.apiAddresses().slice(0, SERVERS_ASKED_MAX))
    try {
      await member.api.bytes(server, { method: "POST", path: routes.reports, body: report, timeoutMs: ANSWER_TIMEOUT_MS })
      return
    } catch {
      // Another may hear it; the deploy's own outcome is what counts here.
    }
  member.log.info({ image: report.image }, "no server took the report of this deploy")
}
