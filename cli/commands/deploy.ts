/** `imagegrid deploy NAME[:VERSION] --target DIR`: downloads, opens, unpacks, verifies, and seeds while that is useful. */
import { setFlagsFromString } from "node:v8"
import type { DeployEvent, DeployOptions } from "#client/deploy.ts"
import { deployAndReport } from "#client/report.ts"
import { defaultUsefulness, usefulnessOver } from "#client/usefulness.ts"
import { GridError } from "#core/errors.ts"
import { imageQuery } from "#core/identifiers.ts"
import { withClientMember } from "../client-member.ts"
import type { CommandContext } from "../command.ts"
import { ownHostName, scriptSentence, scriptsAndHost, type HostOptions } from "../host-options.ts"
import { formatBytes } from "../progress.ts"
import { durationMs, seedUntilOf } from "../values.ts"

type Options = HostOptions & {
  readonly target?: string
  readonly stage?: string
  readonly seedUntil?: string
  readonly usefulOver?: string
  /** False when --no-devices was given. */
  readonly devices?: boolean
}

/**
 * Buffers are counted with the rest of the heap's limit. By default each 64 MB of them, however short-lived, starts a full collection: 40 % of the
 * CPU that a deploy takes, against some 70 MB of memory (docs/performance.md).
 */
const COUNT_BUFFERS_WITH_THE_HEAP = "--external-memory-accounted-in-global-limit"
const USEFUL_OVER_MS_MAX = 24 * 3_600_000
const phases = { download: "downloading", unpack: "unpacking", verify: "verifying", seed: "seeding" } as const

export default async function run(context: CommandContext, [image]: readonly string[], options: Options): Promise<void> {
  setFlagsFromString(COUNT_BUFFERS_WITH_THE_HEAP)
  const query = imageQuery(image ?? "")
  if (options.target === undefined) throw new GridError("USAGE", "name the directory to deploy to: --target DIR")
  const { host, scripts } = scriptsAndHost(options)
  const deployment: DeployOptions = {
    query,
    host: host ?? ownHostName(),
    scripts,
    target: options.target,
    stage: options.stage ?? null,
    devices: options.devices === false ? "refuse" : "make",
    seedUntil: seedUntilOf(options.seedUntil ?? "useful"),
    usefulness:
      options.usefulOver === undefined
        ? defaultUsefulness
        : usefulnessOver(durationMs("--useful-over", options.usefulOver, USEFUL_OVER_MS_MAX)),
  }
  await withClientMember(context, async (member) => {
    const show = narrator(context)
    await deployAndReport({ member, signal: context.signal, emit: show }, deployment)
  })
}

/** Tells a person, or a program, what happens. */
function narrator({ output }: CommandContext): (event: DeployEvent) => void {
  let phase: keyof typeof phases | null = null
  let progress: ReturnType<typeof output.progress> | null = null
  const finish = () => {
    progress?.end()
    progress = null
    phase = null
  }
  return (event) => {
    if (event.event === "progress") {
      if (phase !== event.phase) {
        finish()
        phase = event.phase
        progress = output.progress(phases[event.phase])
      }
      progress?.update({
        bytes: event.bytes,
        totalBytes: event.phase === "seed" ? null : event.totalBytes,
        bytesPerSecond: event.bytesPerSecond,
      })
      return
    }
    finish()
    const { event: name, ...fields } = event
    output.event(name, fields)
    const ofScripts = scriptSentence(event)
    if (ofScripts !== null) output.say(ofScripts)
    if (event.event === "resolved")
      output.say(
        `Deploying ${event.name}:${event.version}${event.tag === null ? "" : ` (${event.tag})`}: ${formatBytes(event.sealedBytes)} to download, staged in ${event.stage}`,
      )
    else if (event.event === "downloaded")
      output.say(
        `Downloaded ${formatBytes(event.bytes)}: ${formatBytes(event.fromOrigins)} from servers, ${formatBytes(event.fromClients)} from clients`,
      )
    else if (event.event === "good") output.say(`Good: ${event.entries} entries verified. Seeding while that is useful; Ctrl-C leaves now.`)
    else if (event.event === "left") output.say(`Left the swarm (${event.why}); uploaded ${formatBytes(event.uploadedBytes)}`)
    else if (event.event === "waiting") output.warn(event.detail)
  }
}
