/** `imagegrid seed`: goes on seeding what this client holds, until it is told to stop. */
import { seedHeld } from "#client/seed.ts"
import type { Member } from "#member/member.ts"
import { withClientMember } from "../client-member.ts"
import type { LimitOptions } from "../limit-options.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext, _arguments: readonly string[], limits: LimitOptions): Promise<void> {
  const { output, signal } = context
  const seed = async (member: Member) => {
    const progress = output.progress("seeding")
    const left = await seedHeld({
      member,
      signal,
      emit: ({ bytes, bytesPerSecond }) => progress.update({ bytes, totalBytes: null, bytesPerSecond }),
      started: (held) => {
        output.event("seeding", held)
        for (const reason of held.passedOver) output.warn(`not seeded: ${reason}`)
        output.say(`Seeding ${held.layers} layers, ${formatBytes(held.sealedBytes)}. Ctrl-C stops it.`)
      },
    })
    progress.end()
    output.event("left", { atMs: member.clock.nowMs(), ...left })
    output.say(`Left the swarm (${left.why}); uploaded ${formatBytes(left.uploadedBytes)}`)
  }
  await withClientMember(context, seed, limits)
}
