/** The administrators' keys that a command signs with, and how their passphrases are come by. */
import type { CommandOption } from "./command.ts"
import { GridError } from "#core/errors.ts"
import { keysDirectory, type Home } from "#member/home.ts"
import { KeyRing, type AskPassphrase } from "#nodes/key-ring.ts"
import { readBounded } from "#store/atomic-file.ts"
import { askSecret, canAsk } from "./ask.ts"

export type KeyOptions = { readonly key?: readonly string[]; readonly passphraseFile?: string }

export const keyOptions: readonly CommandOption[] = [
  { flags: "--key <FILE...>", description: "sign with this key too, besides those in the home" },
  { flags: "--passphrase-file <FILE>", description: "read the passphrase of protected keys from here instead of asking for it" },
]

const PASSPHRASE_BYTES_MAX = 1024

/** @throws {GridError} KEY_MISSING, KEY_INVALID, KEY_LOCKED */
export function openKeyRing(home: Pick<Home, "directory"> | null, options: KeyOptions): Promise<KeyRing> {
  const homeKeys = home === null ? null : keysDirectory(home.directory)
  return KeyRing.open({ homeKeys, files: options.key ?? [] }, passphraseSource(options))
}

export function passphraseSource({ passphraseFile }: KeyOptions): AskPassphrase {
  if (passphraseFile !== undefined) return () => readPassphrase(passphraseFile)
  return async (path) => {
    const given = await askSecret(`Passphrase of ${path}: `)
    if (given === null) throw new GridError("KEY_LOCKED", `${path}; give --passphrase-file, since there is no terminal to ask at`)
    return given
  }
}

/** For the file of a key that replaces a protected one. */
export function newPassphraseSource(options: KeyOptions): AskPassphrase {
  return async (path) => {
    const given = await newPassphrase(options, `New passphrase of ${path}: `)
    if (given === null)
      throw new GridError(
        "KEY_LOCKED",
        `${path} is to be protected as the key before it was; give --passphrase-file, or type one at a terminal`,
      )
    return given
  }
}

/**
 * A passphrase for new keys, asked for twice at a terminal; null where that is left empty, or there is nobody to ask.
 * @throws {GridError} KEY_LOCKED when the two differ
 */
export async function newPassphrase({ passphraseFile }: KeyOptions, question: string): Promise<string | null> {
  if (passphraseFile !== undefined) return readPassphrase(passphraseFile)
  if (!canAsk()) return null
  const given = await askSecret(question)
  if (given === null || given === "") return null
  if ((await askSecret("The same again: ")) !== given)
    throw new GridError("KEY_LOCKED", "the two passphrases differ; nothing was made, try again")
  return given
}

/** The first line of a file. @throws {GridError} KEY_LOCKED when it is empty */
export async function readPassphrase(file: string): Promise<string> {
  const [line = ""] = (await readBounded(file, PASSPHRASE_BYTES_MAX)).toString("utf8").split("\n")
  if (line === "") throw new GridError("KEY_LOCKED", `${file} holds no passphrase in its first line`)
  return line
}
