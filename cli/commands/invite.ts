/** `imagegrid invite`: one string that lets a machine join. */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { groupName } from "#core/identifiers.ts"
import { Home } from "#member/home.ts"
import { DEFAULT_GROUP } from "#nodes/create-site.ts"
import { makeInvite } from "#nodes/make-invite.ts"
import { durationMs, wholeNumber } from "../values.ts"
import type { CommandContext } from "../command.ts"

type Options = { readonly role?: string; readonly group?: string; readonly uses?: string; readonly expires?: string }

const USES_MAX = 100_000
const LIFE_MS_MAX = 366 * 24 * 3_600_000

export default async function run({ output, home }: CommandContext, _arguments: readonly string[], options: Options): Promise<void> {
  const role = options.role ?? "client"
  if (role !== "client" && role !== "server" && role !== "mirror")
    throw new GridError("USAGE", `--role is client, server or mirror, not ${JSON.stringify(role)}`)
  const uses = wholeNumber("--uses", options.uses ?? "1", { min: 1, max: USES_MAX })
  const lifeMs = durationMs("--expires", options.expires ?? "24h", LIFE_MS_MAX)
  if (role === "mirror" && options.group !== undefined)
    throw new GridError("USAGE", "a mirror is in no group, since it opens nothing; leave --group out")
  const group = role === "mirror" ? null : options.group === undefined ? DEFAULT_GROUP : groupName(options.group)
  const opened = await Home.open(home())
  const parts = { home: opened, clock: systemClock, random: randomBytes }
  const { text, inviteId, expiresAtMs } = await makeInvite(parts, { role, group, uses, lifeMs })
  output.event("invite", { invite: text, inviteId, role, group, uses, expiresAtMs })
  output.say(text)
  output.note(`invite ${inviteId}, good until ${new Date(expiresAtMs).toISOString()}; 'imagegrid revoke ${inviteId}' takes it back`)
}
