/** `imagegrid federate invite FILE`: writes down what another site needs to agree with this one. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { makeOffer } from "#nodes/offer.ts"
import { writeFileDurably } from "#store/atomic-file.ts"
import { requireNoFile } from "../change-file.ts"
import type { CommandContext } from "../command.ts"

export default async function run({ output, home: homeOf }: CommandContext, [file = ""]: readonly string[]): Promise<void> {
  const home = await Home.open(homeOf())
  await requireNoFile(file)
  const offer = await makeOffer({ home, clock: systemClock, log: silentLog })
  await writeFileDurably(file, offer)
  output.event("offer", { file, site: home.site, rootDigest: home.rootDigest })
  output.say(`${file} says who signs for site ${home.site} and where its servers answer. It is no secret.`)
  output.say(`Root digest: ${home.rootDigest}; let the other site compare it by another way than that of the file.`)
  output.say(`Next, there: imagegrid federate accept ${file} --shares PATTERN... --mirrors PATTERN... --home HOME`)
}
