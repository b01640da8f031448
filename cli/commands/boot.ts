/** `imagegrid boot NAME[:VERSION] --to DIR`: fetches the kernel and initrd that are signed with an image. */
import { fetchBootPayload } from "#client/boot.ts"
import { GridError } from "#core/errors.ts"
import { imageQuery } from "#core/identifiers.ts"
import { withClientMember } from "../client-member.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes } from "../progress.ts"

export default async function run(context: CommandContext, [image]: readonly string[], { to }: { readonly to?: string }): Promise<void> {
  const { output, signal } = context
  const query = imageQuery(image ?? "")
  if (to === undefined) throw new GridError("USAGE", "name the directory that it is written to: --to DIR")
  await withClientMember(context, async (member) => {
    const progress = output.progress("downloading")
    const payload = await fetchBootPayload(
      {
        member,
        signal,
        emit(event) {
          if (event.event === "progress") progress.update(event)
          else if (event.event === "waiting") output.warn(event.detail)
        },
      },
      query,
      to,
    )
    progress.end()
    output.event("boot-payload", payload)
    output.say(`Wrote ${payload.files} files of ${formatBytes(payload.bytes)}, signed with ${payload.image}, to ${payload.directory}`)
  })
}
