/** `imagegrid update [NAME[:VERSION]] --target DIR`: brings a deployed tree to another version by what differs. */
import { reportingProgress } from "#client/progress-reporter.ts"
import type { UpdateEvent } from "#client/update-events.ts"
import { updateTarget } from "#client/update.ts"
import { defaultUsefulness } from "#client/usefulness.ts"
import { GridError } from "#core/errors.ts"
import { imageQuery } from "#core/identifiers.ts"
import type { Member } from "#member/member.ts"
import type { LocalPolicy } from "#image/update-plan.ts"
import { withClientMember } from "../client-member.ts"
import type { LimitOptions } from "../limit-options.ts"
import type { CommandContext } from "../command.ts"
import { ownHostName, scriptSentence, scriptsAndHost, type HostOptions } from "../host-options.ts"
import { formatBytes } from "../progress.ts"
import { seedUntilOf } from "../values.ts"

export type LocalOptions = { readonly target?: string; readonly local?: string; readonly dryRun?: boolean }
type Options = LocalOptions &
  HostOptions &
  LimitOptions & { readonly stage?: string; readonly exclude?: readonly string[]; readonly seedUntil?: string }

export default async function run(context: CommandContext, [image]: readonly string[], options: Options): Promise<void> {
  const { target, local, dryRun } = localOptions(options)
  const query = image === undefined ? null : imageQuery(image)
  if (options.stage === "none")
    throw new GridError(
      "USAGE",
      "an update keeps what it downloads in a stage until it is made; --stage none goes with deploy (a directory of this name is ./none)",
    )
  const seedUntil = seedUntilOf(options.seedUntil ?? "useful")
  const updateWith = async (member: Member) => {
    const { host, scripts } = scriptsAndHost(options)
    const update = (emit: (event: UpdateEvent) => void) =>
      updateTarget(
        { member, signal: context.signal, emit },
        {
          target,
          query,
          local,
          dryRun,
          host,
          scripts,
          exclude: options.exclude ?? [],
          stage: options.stage ?? null,
          seedUntil,
          usefulness: defaultUsefulness,
        },
      )
    const emit = tellUpdate(context, dryRun)
    // What changes nothing is nothing to watch.
    await (dryRun ? update(emit) : reportingProgress({ member, host: host ?? ownHostName(), emit }, update))
  }
  await withClientMember(context, updateWith, options)
}

/** @throws {GridError} USAGE */
export function localOptions({ target, local, dryRun }: LocalOptions): {
  readonly target: string
  readonly local: LocalPolicy
  readonly dryRun: boolean
} {
  if (target === undefined) throw new GridError("USAGE", "name the directory that was deployed to: --target DIR")
  return { target, local: localPolicy(local), dryRun: dryRun === true }
}

/** @throws {GridError} USAGE */
export function localPolicy(local = "refuse"): LocalPolicy {
  if (local !== "keep" && local !== "overwrite" && local !== "refuse")
    throw new GridError("USAGE", `--local is keep, overwrite or refuse, not ${JSON.stringify(local.slice(0, 40))}`)
  return local
}

const phases = { download: "downloading", unpack: "updating", verify: "reading the tree", seed: "seeding" } as const

/** Tells a person, or a program, what happens. */
export function tellUpdate({ output }: CommandContext, dryRun: boolean): (event: UpdateEvent) => void {
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
    const line = updateSentence(event, dryRun) ?? scriptSentence(event)
    if (line !== null) output.say(line)
    if (event.event === "waiting") output.warn(event.detail)
  }
}

export function updateSentence(event: UpdateEvent, dryRun: boolean): string | null {
  switch (event.event) {
    case "update-planned":
      return `From ${event.from} to ${event.image} by ${event.by}${event.sealedBytes === 0 ? "" : `: ${formatBytes(event.sealedBytes)} to download`}`
    case "continued":
      return `An update to ${event.image} was cut off here; it is finished first.`
    case "local-change":
      return `local: ${event.path} was ${event.what}`
    case "change":
      return dryRun ? `${event.what === "added" ? "+" : event.what === "removed" ? "-" : "~"} ${event.path}` : null
    case "changes":
      return `${dryRun ? "It would take" : "It takes"} ${event.steps} steps, with ${formatBytes(event.madeBytes)} of files made anew; ${event.localChanges} local changes.`
    case "shared":
      return event.how === "copy" ? null : `${event.files} files are shared with the tree that was in use (${event.how}).`
    case "downloaded":
      return `Downloaded ${formatBytes(event.bytes)}: ${formatBytes(event.fromOrigins)} from servers, ${formatBytes(event.fromClients)} from clients`
    case "good":
      return `Good: ${event.entries} entries verified. What was there before is kept until the next update: 'imagegrid rollback' goes back to it.`
    case "left":
      return `Left the swarm (${event.why}); uploaded ${formatBytes(event.uploadedBytes)}`
    default:
      return null
  }
}
