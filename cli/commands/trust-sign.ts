/** `imagegrid trust sign FILE`: shows what a change would change, and signs it with the keys at hand. Works on a machine without a network. */
import { GridError } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import { signWith } from "#nodes/make-change.ts"
import { rootDigest } from "#trust/catalog.ts"
import { requirementsOf } from "#trust/change.ts"
import { describeChange, shortDigest } from "#trust/describe-change.ts"
import { siteDocumentOf } from "#trust/files.ts"
import { ask } from "../ask.ts"
import { readChange } from "../change-file.ts"
import type { CommandContext } from "../command.ts"
import { openKeyRing, type KeyOptions } from "../keys.ts"
import { saveChange } from "../tell-change.ts"

type Options = KeyOptions & { readonly yes?: boolean }

export default async function run(context: CommandContext, [file = ""]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const directory = context.homeIfGiven()
  const home = directory === null ? null : await Home.open(directory)
  const carried = await readChange(file, home)
  const keys = await openKeyRing(home, options)
  const requirements = requirementsOf(carried.files, carried.change)
  const asked = new Set(requirements.flatMap(({ keyIds }) => keyIds))
  const own = [...new Set(keys.keyIds)].filter((id) => asked.has(id))
  if (own.length === 0) {
    const atHand = keys.keyIds.map(shortDigest).join(", ") || "none"
    throw new GridError(
      "KEY_MISSING",
      `${file} asks for keys ${[...asked].map(shortDigest).join(", ")}, and at hand: ${atHand}; name one of them with --key FILE`,
    )
  }

  const digest = rootDigest(carried.files)
  const changes = describeChange(carried)
  const { site } = siteDocumentOf(carried.files)
  output.event("change", { file, site, rootDigest: digest, changes })
  output.say(`${file} would change site ${site}:`)
  for (const line of changes) output.say(`  ${line}`)
  output.say(`It follows the site whose root digest is ${digest}.`)
  output.say(
    home === null
      ? "Is that your site? 'imagegrid site create' printed the digest, and 'imagegrid trust show' does at any member."
      : `That is the site of ${home.directory}.`,
  )
  const roles = [...new Set(requirements.filter(({ keyIds }) => keyIds.some((id) => own.includes(id))).map(({ role }) => role))]
  output.say(`You would sign for ${roles.join(", ")} with ${own.map(shortDigest).join(", ")}.`)
  if (options.yes !== true) await requireConsent(output.json)

  const signed = await signWith(keys, carried)
  output.event("change-signed", { file, keyIds: own, roles })
  await saveChange(output, file, signed)
}

/** @throws {GridError} DECLINED; USAGE where nobody can be asked */
async function requireConsent(json: boolean): Promise<void> {
  // With --json nobody has been shown the change.
  const answer = json ? null : await ask("Sign this? [y/N] ")
  if (answer === null) throw new GridError("USAGE", "there is nobody to ask; read what it would change, and add --yes to sign it")
  if (!/^y(es)?$/i.test(answer.trim())) throw new GridError("DECLINED", "nothing was signed")
}
