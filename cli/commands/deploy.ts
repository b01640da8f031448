/** `imagegrid deploy NAME[:VERSION] --target DIR`: downloads, opens, unpacks, verifies, and seeds while that is useful. */
import type { DeployOptions } from "#client/deploy.ts"
import { deployAndReport } from "#client/report.ts"
import { defaultUsefulness, usefulnessOver } from "#client/usefulness.ts"
import { deployToSlots } from "#client/slots.ts"
import type { UpdateEvent } from "#client/update-events.ts"
import { GridError } from "#core/errors.ts"
import type { Sharing } from "#image/shared-tree.ts"
import type { LocalPolicy } from "#image/update-plan.ts"
import type { Member } from "#member/member.ts"
import { imageQuery } from "#core/identifiers.ts"
import { withClientMember } from "../client-member.ts"
import type { LimitOptions } from "../limit-options.ts"
import type { CommandContext } from "../command.ts"
import { collectBuffersEach, countBuffersWithTheHeap } from "../memory.ts"
import { ownHostName, scriptSentence, scriptsAndHost, type HostOptions } from "../host-options.ts"
import { formatBytes } from "../progress.ts"
import { durationMs, seedUntilOf } from "../values.ts"
import { localPolicy, updateSentence } from "./update.ts"

type Options = HostOptions &
  LimitOptions &
  SlotWords & {
    readonly target?: string
    readonly stage?: string
    readonly seedUntil?: string
    readonly usefulOver?: string
    /** False when --no-devices was given. */
    readonly devices?: boolean
  }

/** A directory of this name is ./none. */
const NO_STAGE = "none"
const BUFFER_BYTES_WITHOUT_STAGE = 16 * 1024 * 1024
const USEFUL_OVER_MS_MAX = 24 * 3_600_000
const phases = { download: "downloading", unpack: "unpacking", verify: "verifying", seed: "seeding" } as const

export default async function run(context: CommandContext, [image]: readonly string[], options: Options): Promise<void> {
  countBuffersWithTheHeap()
  const query = imageQuery(image ?? "")
  if ((options.target === undefined) === (options.slots === undefined))
    throw new GridError("USAGE", "name the directory to deploy to: --target DIR, or --slots DIR for two trees side by side")
  const windowed = options.stage === NO_STAGE
  if (windowed && options.seedUntil === "forever")
    throw new GridError("USAGE", "--seed-until forever needs a stage: with --stage none there is nothing to seed when the image is good")
  if (windowed && options.slots !== undefined) throw new GridError("USAGE", "--stage none goes with --target, not with --slots")
  const { sharing, local } = slotOptions(options)
  const { host, scripts } = scriptsAndHost(options)
  const deployment: Omit<DeployOptions, "target"> = {
    query,
    host: host ?? ownHostName(),
    scripts,
    stage: windowed ? null : (options.stage ?? null),
    keep: windowed ? "window" : "all",
    devices: options.devices === false ? "refuse" : "make",
    seedUntil: seedUntilOf(options.seedUntil ?? "useful"),
    usefulness:
      options.usefulOver === undefined
        ? defaultUsefulness
        : usefulnessOver(durationMs("--useful-over", options.usefulOver, USEFUL_OVER_MS_MAX)),
  }
  const deploy = async (member: Member) => {
    const { target, slots } = options
    using _ = windowed ? collectBuffersEach(BUFFER_BYTES_WITHOUT_STAGE) : null
    if (target !== undefined) await deployAndReport({ member, signal: context.signal, emit: narrator(context) }, { ...deployment, target })
    else if (slots !== undefined)
      await deployToSlots({ member, signal: context.signal, emit: narrator(context) }, { ...deployment, slots, sharing, local })
  }
  await withClientMember(context, deploy, options)
}

type SlotWords = { readonly slots?: string; readonly share?: string; readonly local?: string }

/** @throws {GridError} USAGE */
function slotOptions({ slots, share = "copy", local }: SlotWords): { readonly sharing: Sharing; readonly local: LocalPolicy } {
  if (slots === undefined && (share !== "copy" || local !== undefined)) throw new GridError("USAGE", "--share and --local go with --slots")
  if (share !== "copy" && share !== "reflink" && share !== "hard-link")
    throw new GridError("USAGE", `--share is copy, reflink or hard-link, not ${JSON.stringify(share.slice(0, 40))}`)
  return { sharing: share, local: localPolicy(local) }
}

/** Tells a person, or a program, what happens. */
function narrator({ output }: CommandContext): (event: UpdateEvent) => void {
  let staged = true
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
    if (event.event === "resolved") staged = event.stage !== null
    const { event: name, ...fields } = event
    output.event(name, fields)
    const line =
      scriptSentence(event) ??
      (event.event === "good" || event.event === "downloaded" || event.event === "left" ? null : updateSentence(event, false))
    if (line !== null) output.say(line)
    if (event.event === "resolved")
      output.say(
        `Deploying ${event.name}:${event.version}${event.tag === null ? "" : ` (${event.tag})`}: ${formatBytes(event.sealedBytes)} to download, ${event.stage === null ? "with a window of it in memory and nothing staged" : `staged in ${event.stage}`}`,
      )
    else if (event.event === "downloaded")
      output.say(
        `Downloaded ${formatBytes(event.bytes)}: ${formatBytes(event.fromOrigins)} from servers, ${formatBytes(event.fromClients)} from clients`,
      )
    else if (event.event === "good")
      output.say(
        `Good: ${event.entries} entries verified. ${staged ? "Seeding while that is useful; Ctrl-C leaves now." : "Nothing is staged: this client can't seed the image."}`,
      )
    else if (event.event === "left") output.say(`Left the swarm (${event.why}); uploaded ${formatBytes(event.uploadedBytes)}`)
    else if (event.event === "waiting") output.warn(event.detail)
  }
}
