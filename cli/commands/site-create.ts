/** `imagegrid site create NAME`: a new site, and the home of its first server. */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { formatAddress } from "#core/address.ts"
import { siteName } from "#core/identifiers.ts"
import { Home, keysDirectory } from "#member/home.ts"
import { createSite } from "#nodes/create-site.ts"
import { ask } from "../ask.ts"
import type { CommandContext } from "../command.ts"
import { defaultPorts, listenAddress } from "../addresses.ts"
import { newPassphrase, type KeyOptions } from "../keys.ts"
import type { Output } from "../output.ts"
import { groupNames, wholeNumber } from "../values.ts"

type Options = Pick<KeyOptions, "passphraseFile"> & {
  readonly api?: string
  readonly swarm?: string
  readonly dht?: string
  readonly groups?: readonly string[]
  readonly rootKeys?: string
  readonly rootThreshold?: string
}
type RootKeys = { readonly count: number; readonly threshold: number }

const ROOT_KEYS_MAX = 16

export default async function run({ output, home }: CommandContext, [name]: readonly string[], options: Options): Promise<void> {
  const listen = {
    api: listenAddress(options.api, defaultPorts.api),
    swarm: listenAddress(options.swarm, defaultPorts.swarm),
    dht: listenAddress(options.dht, defaultPorts.dht),
  }
  const groups = groupNames(options.groups ?? [])
  const site = siteName(name ?? "")
  const directory = home()
  await Home.requireVacant(directory)
  const rootKeys = await chosenRootKeys(output, options)
  // With --json a program runs this, even where a terminal is near.
  const given = output.json && options.passphraseFile === undefined
  const passphrase = given ? null : await newPassphrase(options, "Passphrase for the root, targets and publisher keys (empty for none): ")
  const created = await createSite({ clock: systemClock, random: randomBytes }, { directory, site, groups, listen, rootKeys, passphrase })
  output.event("site-created", {
    site: created.site,
    memberId: created.memberId,
    rootDigest: created.rootDigest,
    home: directory,
    rootKeys: rootKeys.count,
    rootThreshold: rootKeys.threshold,
    protected: passphrase !== null,
  })
  output.say(`Site ${created.site} is made; its first server lives in ${directory} (API ${formatAddress(listen.api)}).`)
  output.say(`Root digest: ${created.rootDigest}`)
  output.say("Write it down: whoever signs a change of the site, offline, knows the site by it.")
  for (const line of keyAdvice(keysDirectory(directory), rootKeys, passphrase !== null)) output.say(line)
  output.say(`Next: imagegrid server run --home ${directory}`)
}

async function chosenRootKeys(output: Output, options: Options): Promise<RootKeys> {
  const count = await chosenNumber(
    output,
    "--root-keys",
    options.rootKeys,
    "How many root keys, one for each person who answers for the site?",
    {
      min: 1,
      max: ROOT_KEYS_MAX,
    },
  )
  if (count === 1 && options.rootThreshold === undefined) return { count, threshold: 1 }
  const threshold = await chosenNumber(
    output,
    "--root-threshold",
    options.rootThreshold,
    "How many of them must sign a change of the root?",
    {
      min: 1,
      max: count,
    },
  )
  return { count, threshold }
}

/** @throws {GridError} USAGE */
async function chosenNumber(
  output: Output,
  option: string,
  given: string | undefined,
  question: string,
  range: { readonly min: number; readonly max: number },
): Promise<number> {
  const text = given ?? (output.json ? null : await ask(`${question} [1] `))
  return text === null || text.trim() === "" ? 1 : wholeNumber(option, text.trim(), range)
}

/** What the keys mean, and what to do with them. */
function keyAdvice(keys: string, { count, threshold }: RootKeys, isProtected: boolean): string[] {
  const guard = isProtected
    ? "The root, targets and publisher keys are protected by the passphrase; whoever forgets it has lost them."
    : "They are unprotected but for their file modes: whoever reads this disk, or a backup of it, has them. That is for trying things out."
  if (count === 1)
    return [
      `Whoever has ${keys}/root.key is the site; whoever loses it can't change the site any more.`,
      guard,
      `Back up ${keys} where nobody else gets at it. No server needs root.key: best move it, with root.pub, to a medium of its own.`,
    ]
  const lost = count - threshold + 1
  const files = Array.from({ length: count }, (_, position) => `  ${keys}/root-${position + 1}.key, with root-${position + 1}.pub`)
  return [
    `The root has ${count} keys. ${threshold === 1 ? "Whoever has one of them" : `Whoever has ${threshold} of them`} is the site; ` +
      `when ${lost === 1 ? "one is" : `${lost === count ? "all" : lost} are`} lost, nobody can change the site any more.`,
    "As long as they all lie here, whoever has this machine is the site. Move each to another machine or medium, one for each person, and remove it here:",
    ...files,
    guard,
    `Stays: ${keys}/targets.key (groups, revocations, publishers) and publisher.key (images), where you administer and publish. Back them up.`,
  ]
}
