/**
 * The member that is revoked: `victim.ts HOME ADDRESS...`. It tries to connect to each address several times a second, with TLS and the handshake of
 * the layer that every member serves. Says `{ "address", "admitted", "atMs", "lastAdmittedMs" }` at each change of what it meets. Ends
 * with its standard input.
 */
import { setTimeout as pause } from "node:timers/promises"
import { address as addressOf } from "#core/address.ts"
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { Admission } from "#crypto/admission.ts"
import { authoritiesOf } from "#member/catalog-keeper.ts"
import { Home } from "#member/home.ts"
import { storedCatalog } from "#member/stored-catalog.ts"
import { Dialler } from "#swarm/dialler.ts"

const INTERVAL_MS = 250

const [directory = "", ...addresses] = process.argv.slice(2)
const home = await Home.open(directory)
const { catalog } = await storedCatalog(home, systemClock.nowMs())
const [image] = catalog.images.values()
const infohash = image?.layers.find(({ kind }) => kind === "full")?.infohash
if (infohash === undefined) throw new Error("the site has no image")
const admission = new Admission({
  clock: systemClock,
  site: home.site,
  authorities: authoritiesOf(catalog),
  revoked: [],
  certificateDer: (await home.certificate()).der,
  signing: home.identity.signing,
})
const dialler = new Dialler(admission, home.memberId, () => performance.now())
const ending = new AbortController()
process.stdin.on("end", () => ending.abort()).resume()

async function tryAgainAndAgain(at: string): Promise<void> {
  let before: boolean | null = null
  let lastAdmittedMs = 0
  while (!ending.signal.aborted) {
    const admitted = await isAdmitted(at)
    const atMs = Date.now()
    if (admitted) lastAdmittedMs = atMs
    if (admitted !== before) console.log(JSON.stringify({ address: at, admitted, atMs, lastAdmittedMs }))
    before = admitted
    await pause(INTERVAL_MS * (0.8 + 0.4 * Math.random()))
  }
}

async function isAdmitted(at: string): Promise<boolean> {
  try {
    const connection = await dialler.dial(addressOf(at), infohash as NonNullable<typeof infohash>, () => true)
    connection.close()
    return true
  } catch (error) {
    if (error instanceof GridError) return false
    throw error
  }
}

await Promise.all(addresses.map(tryAgainAndAgain))
dialler.close()
