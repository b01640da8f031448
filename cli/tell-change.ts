/** What a command that changes the site says at its end: that it is done, or which file waits for whose signatures. */
import { writeFileDurably } from "#store/atomic-file.ts"
import { encodeChange } from "#trust/change-file.ts"
import type { MadeChange } from "#nodes/make-change.ts"
import type { CommandOption } from "./command.ts"
import type { Output } from "./output.ts"

export type OutOptions = { readonly out?: string }

export const outOption: CommandOption = {
  flags: "--out <FILE>",
  description: "where more signatures are needed than the keys at hand give: write the change here for 'imagegrid trust sign'",
}

/** Resolves with whether the change is in force. */
export async function tellChange(
  output: Output,
  made: MadeChange,
  words: { readonly done: string; readonly what: string },
  { out }: OutOptions,
): Promise<boolean> {
  if (made.applied) {
    output.say(words.done)
    return true
  }
  const file = out ?? `${words.what}.change`
  await writeFileDurably(file, encodeChange(made))
  const missing = made.requirements.filter(({ threshold, signedBy }) => signedBy.length < threshold)
  output.event("change-waits", {
    file,
    missing: missing.map(({ role, by, threshold, signedBy }) => ({ role, by, threshold, signatures: signedBy.length })),
  })
  output.say(`Not in force yet: ${file} waits for signatures.`)
  for (const { role, by, threshold, signedBy } of missing)
    output.say(`  ${role}${by === "former root" ? " (by keys of the root before)" : ""}: ${signedBy.length} of ${threshold}`)
  output.say(`Next, each holder of a key: imagegrid trust sign ${file} --key KEYFILE`)
  output.say(`Then, at a server: imagegrid trust apply ${file} --home HOME`)
  return false
}
