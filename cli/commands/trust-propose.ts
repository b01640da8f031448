/** `imagegrid trust propose FILE --role ROLE`: a change of who signs for a role, as a file for the holders of keys. */
import { GridError } from "#core/errors.ts"
import { readPublicKey } from "#nodes/key-ring.ts"
import { proposeChange } from "#nodes/make-change.ts"
import { describeChange } from "#trust/describe-change.ts"
import { renewalOf, roleEdits } from "#trust/role-edits.ts"
import { requireNoFile } from "../change-file.ts"
import type { CommandContext } from "../command.ts"
import type { KeyOptions } from "../keys.ts"
import { siteChangeParts } from "../site-change.ts"
import { saveChange } from "../tell-change.ts"
import { wholeNumber } from "../values.ts"

type Options = KeyOptions & {
  readonly role?: string
  readonly addKey?: readonly string[]
  readonly removeKey?: readonly string[]
  readonly threshold?: string
  readonly renew?: boolean
}

export default async function run(context: CommandContext, [file = ""]: readonly string[], options: Options): Promise<void> {
  const { output } = context
  const { role, addKey = [], removeKey = [] } = options
  if (role === undefined) throw new GridError("USAGE", "name the role: --role root, targets or a publisher")
  const threshold = options.threshold === undefined ? null : wholeNumber("--threshold", options.threshold, { min: 1, max: 64 })
  const renew = options.renew === true
  if (renew && (addKey.length > 0 || removeKey.length > 0 || threshold !== null))
    throw new GridError("USAGE", "--renew changes nothing but the signatures; leave it out, other changes renew them too")
  await requireNoFile(file)
  const addKeys = await Promise.all(addKey.map(readPublicKey))
  const proposed = await proposeChange(await siteChangeParts(context, options), (files) =>
    renew ? renewalOf(files, role) : roleEdits(files, { role, addKeys, removeKeys: removeKey, threshold }),
  )
  const changes = describeChange(proposed)
  output.event("change", { file, changes })
  for (const line of changes) output.say(line)
  await saveChange(output, file, proposed)
}
