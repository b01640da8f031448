/** `imagegrid federate list`: the sites that this one has agreements with, and how they stand. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import type { FederatedSite } from "#member/federated-catalogs.ts"
import { agreementWith } from "#core/federation.ts"
import { imagesToShow } from "../catalog-view.ts"
import type { CommandContext } from "../command.ts"
import { formatDuration } from "../progress.ts"

export default async function run(context: CommandContext): Promise<void> {
  const { output } = context
  const home = await Home.open(context.home())
  const { federated } = await imagesToShow(home, context)
  const rows = federated.sites().map((one) => {
    const { agreement, catalog, inForce } = one
    const theirs = catalog === null ? null : agreementWith(catalog.site, home.site)
    return {
      site: agreement.site,
      rootDigest: agreement.rootDigest,
      inForce,
      state: stateOf(one, theirs?.endedAtMs ?? null, theirs !== null),
      shares: agreement.shares,
      sharedWithUs: theirs?.shares ?? [],
      mirrors: agreement.mirrors,
      catalogExpiresAtMs: catalog?.expiresAtMs ?? null,
    }
  })
  for (const row of rows) output.event("federated-site", row)
  if (rows.length === 0) {
    output.say(`Site ${home.site} has no agreement with another. 'imagegrid federate invite' makes an offer.`)
    return
  }
  output.table(
    ["site", "agreement", "they may have", "we may have", "copies here of", "catalog good for"],
    rows.map((row) => [
      row.site,
      row.state,
      row.shares.join(" ") || "nothing",
      row.sharedWithUs.join(" ") || "nothing",
      row.mirrors.join(" ") || "nothing",
      row.catalogExpiresAtMs === null ? "none here" : lifeOf(row.catalogExpiresAtMs - systemClock.nowMs()),
    ]),
  )
}

function stateOf({ agreement, catalog, inForce }: FederatedSite, endedThereAtMs: number | null, namedThere: boolean): string {
  if (inForce) return "in force"
  if (agreement.endedAtMs !== null) return "ended by this site"
  if (catalog === null) return "not reached yet"
  if (endedThereAtMs !== null) return "ended by the other site"
  return namedThere ? "of other roots" : "waits for the other site"
}

function lifeOf(leftMs: number): string {
  return leftMs <= 0 ? "lapsed" : formatDuration(leftMs)
}
