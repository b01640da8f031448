/** What a command that changes the site says at its end: that it is done, or which file waits for whose signatures. */
import { writeFileDurably } from "#store/atomic-file.ts"
import { encodeChange } from "#trust/change-file.ts"
import { shortDigest } from "#trust/describe-change.ts"
import type { MadeChange, SignedChange } from "#nodes/make-change.ts"
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
  await saveChange(output, file, made)
  return false
}

/** Writes a change down for those who must sign it still, and says who they are. */
export async function saveChange(output: Output, file: string, made: SignedChange): Promise<void> {
  await writeFileDurably(file, encodeChange(made))
  const missing = made.requirements.filter(({ threshold, signedBy }) => signedBy.length < threshold)
  if (missing.length === 0) {
    output.event("change-complete", { file })
    output.say(`Not in force yet: ${file} has all its signatures.`)
    output.say(`Next, at a server: imagegrid trust apply ${file} --home HOME`)
    return
  }
  output.event("change-waits", {
    file,
    missing: missing.map(({ role, by, threshold, keyIds, signedBy }) => {
      return { role, by, threshold, signatures: signedBy.length, keyIds: keyIds.filter((id) => !signedBy.includes(id)) }
    }),
  })
  output.say(`Not in force yet: ${file} waits for signatures.`)
  for (const { role, by, threshold, keyIds, signedBy } of missing) {
    const open = keyIds.filter((id) => !signedBy.includes(id)).map(shortDigest)
    const count = threshold - signedBy.length
    const whose = open.length === count ? open.join(", ") : `${count} of ${open.join(", ")}`
    output.say(
      `  ${role}${by === "former root" ? " (by keys of the root before)" : ""}: ${signedBy.length} of ${threshold}, missing ${whose}`,
    )
  }
  output.say(`Next, each holder of a key: imagegrid trust sign ${file} --key KEYFILE`)
  output.say(`Then, at a server: imagegrid trust apply ${file} --home HOME`)
}
