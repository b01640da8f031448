/** `imagegrid trust show`: who signs what, until when, and what needs attention. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { attentionOf } from "#trust/attention.ts"
import { rootDigest, type CatalogRole } from "#trust/catalog.ts"
import { patternsOfPaths } from "#trust/name-patterns.ts"
import { catalogToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { openKeyRing, type KeyOptions } from "../keys.ts"

const DAY_MS = 24 * 3_600_000

export default async function run(context: CommandContext, _arguments: readonly string[], options: KeyOptions): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const catalog = await catalogToShow(home, context)
  const { keyIds } = await openKeyRing(home, options)
  const nowMs = systemClock.nowMs()
  const attention = attentionOf(catalog, nowMs)
  for (const role of catalog.roles) {
    const { name, version, threshold, expiresAtMs } = role
    output.event("role", {
      role: name,
      version,
      threshold,
      keyIds: role.keyIds,
      here: role.keyIds.filter((id) => keyIds.includes(id)),
      expiresAtMs,
      names: namesOf(role),
    })
  }
  for (const item of attention) output.event("attention", item)
  output.say(`Site ${home.site}, root of trust ${rootDigest(catalog.files)}`)
  output.table(
    ["role", "signs", "keys", "version", "ends"],
    catalog.roles.map((role) => [
      role.name,
      signs(role),
      `${role.threshold} of ${role.keyIds.map((id) => id.slice(0, 8) + (keyIds.includes(id) ? "*" : "")).join(" ")}`,
      String(role.version),
      `in ${Math.floor((role.expiresAtMs - nowMs) / DAY_MS)} d`,
    ]),
  )
  output.say("* is in this home.")
  if (attention.length === 0) output.say("Nothing needs attention.")
  for (const { code, detail } of attention) output.say(`${code === "one-key" ? "Note" : "ATTENTION"}: ${detail}.`)
}

function namesOf({ paths }: CatalogRole): string[] {
  return paths === null ? [] : patternsOfPaths(paths)
}

function signs(role: CatalogRole): string {
  if (role.paths !== null) return namesOf(role).join(" ")
  return (
    { root: "all other keys", targets: "site document, publishers", snapshot: "versions", timestamp: "freshness" }[role.name] ?? role.name
  )
}
