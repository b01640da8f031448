/** `imagegrid revoke MEMBER|INVITE...`: shuts members out of the site, and takes invites back. */
import { revoke } from "#nodes/revoke.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import { memberIds } from "../values.ts"

type Options = KeyOptions & OutOptions & { readonly yes?: boolean }

export default async function run(context: CommandContext, ids: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const parts = await siteChangeParts(context, options)
  // An invite's id has the form of a member's.
  const made = await revoke(parts, memberIds(ids), { ownMember: options.yes === true ? "revoke" : "refuse" })
  if (made === null) {
    output.event("revocations-unchanged", {})
    output.say("Nothing to change: they were revoked before.")
    return
  }
  const done =
    `Revoked: ${made.ids.join(", ")}. Every member that hears of it refuses and cuts their connections; whoever joined with a revoked invite before stays.\n` +
    "They keep the keys and bytes that they have. 'imagegrid group remove' gives a group a new key, for what is granted from then on."
  if (await tellChange(output, made, { done, what: "revoke" }, options)) output.event("revoked", { ids: made.ids })
}
