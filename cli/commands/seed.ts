/** `imagegrid seed`: goes on seeding what this client holds, until it is told to stop. */
import { seedHeld } from "#client/seed.ts"
import { withClientMember } from "../client-member.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext): Promise<void> {
  const { output, signal } = context
  await withClientMember(context, async (member) => {
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
  })
}
