/** `imagegrid trust key FILE`: a new signing key, and its public half for others to add to a role. */
import { randomBytes } from "node:crypto"
import { GridError } from "#core/errors.ts"
import { createKeyFile, publicPath, requireNoKeyFile } from "#nodes/key-ring.ts"
import { keyIdOf } from "#trust/metadata.ts"
import type { CommandContext } from "../command.ts"
import { newPassphrase } from "../keys.ts"

type Options = { readonly passphraseFile?: string; readonly unprotected?: boolean }

export default async function run({ output }: CommandContext, [file = ""]: readonly string[], options: Options): Promise<void> {
  const unprotected = options.unprotected === true
  if (unprotected && options.passphraseFile !== undefined) throw new GridError("USAGE", "give --passphrase-file or --unprotected, not both")
  // Nobody types a passphrase for nothing.
  await requireNoKeyFile(file)
  const passphrase = unprotected ? null : await newPassphrase(options, `Passphrase for ${file}: `)
  if (passphrase === null && !unprotected)
    throw new GridError("KEY_LOCKED", `${file} needs one: type it at a terminal, or give --passphrase-file; nothing was made`)
  const { publicKey } = await createKeyFile(file, randomBytes(32), passphrase)
  const keyId = keyIdOf(publicKey)
  output.event("key-made", { file, publicFile: publicPath(file), publicKey, keyId, protected: !unprotected })
  output.say(
    `The key is in ${file}, ${unprotected ? "UNPROTECTED: whoever reads that file can sign with it" : "which its passphrase opens"}.`,
  )
  output.say(`Public key: ${publicKey}`)
  output.say(`Key id:     ${keyId}`)
  output.say(`Next: give ${publicPath(file)} to whoever proposes: imagegrid trust propose FILE --role ROLE --add-key ${publicPath(file)}`)
}
